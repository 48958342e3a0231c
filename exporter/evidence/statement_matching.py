"""The text of a statement: which tables it names, and what of it may be published. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Utility statements can hold passwords; none begins with one of these words.
_READS_OR_WRITES = re.compile(r"[\s(]*+(?:SELECT|INSERT|UPDATE|DELETE|MERGE|WITH)(?![\w$])", re.IGNORECASE)
_BARE_NAME = re.compile(r"[^\W\d][\w$]*")
# What a text holds besides words; a comment's end is found by counting, because comments nest.
_PART = re.compile(
    r"""
      (?P<line_comment> --[^\n]* )
    | (?P<comment> /\* )
    | (?P<identifier> "(?:[^"]|"")*+" )
    | (?P<literal>
          (?<![\w$])[eE]'(?:[^'\\]|\\.|'')*+(?:'|\Z)
        | '(?:[^']|'')*+(?:'|\Z)
        | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
        | "
      )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")


def names_a_table(tables: Iterable[str]) -> re.Pattern[str] | None:
    """What finds one of these unqualified table names as a whole word; None without any."""
    forms = set()
    for table in tables:
        forms.add(re.escape('"' + table.replace('"', '""') + '"'))
        if _BARE_NAME.fullmatch(table) and table == table.lower():
            forms.add(rf"(?<![\w$]){re.escape(table)}(?![\w$])")
    return re.compile("|".join(sorted(forms)), re.IGNORECASE) if forms else None


def without_comments(text: str) -> tuple[str, int | None]:
    """The text with a blank for every comment, and where its first literal begins, None without any.

    pg_stat_statements keeps comments, which can hold anything: credentials too.
    """
    kept: list[str] = []
    length, position, literal_at = 0, 0, None
    while (part := _PART.search(text, position)) is not None:
        before = text[position : part.start()]
        is_comment = part["comment"] or part["line_comment"]
        kept += (before, " " if is_comment else part[0])
        if part["literal"] and literal_at is None:
            literal_at = length + len(before)
        length += len(before) + len(kept[-1])
        position = _comment_end(text, part.end()) if part["comment"] else part.end()
    kept.append(text[position:])
    return "".join(kept), literal_at


def _comment_end(text: str, position: int) -> int:
    depth = 1
    while depth:
        mark = _COMMENT_MARK.search(text, position)
        if mark is None:
            return len(text)
        depth += 1 if mark[0] == "/*" else -1
        position = mark.end()
    return position


def publishable_text(text: str, length: int) -> str:
    """The text on one line, at most `length` characters, without comments and from a literal on cut.

    pg_stat_statements replaces constants, but keeps the text as it was sent when the entry was evicted
    while the statement ran.
    """
    text, literal_at = without_comments(text)
    if literal_at is not None:
        text = text[:literal_at] + "…"
    text = " ".join(text.split())
    return text if len(text) <= length else text[: max(length - 1, 0)] + "…"


def is_wanted(text: str, table_pattern: re.Pattern[str]) -> bool:
    """True for a statement that reads or writes one of the tables of the pattern."""
    bare, _ = without_comments(text)
    return _READS_OR_WRITES.match(bare) is not None and table_pattern.search(bare) is not None
