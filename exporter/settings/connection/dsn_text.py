"""Does a text look like a connection string? Asked of texts that should be something else."""

from __future__ import annotations

import re

# A scheme, user:password@host, or a keyword of a connection string.
_DSN_MARK = re.compile(
    r"://|\bpostgres(?:ql)?:|[^/\s:]*:[^\s]*@|\b(?:password|host|hostaddr|user|dbname|port)\s*="
)


def looks_like_dsn(text: str) -> bool:
    """Whether a text that should be a name or a path is a connection string by mistake."""
    return _DSN_MARK.search(text) is not None
