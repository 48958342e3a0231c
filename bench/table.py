"""Puts the table of the last run into docs/performance.md: `python -m bench.table`."""

from __future__ import annotations

import sys
from pathlib import Path

TABLE = Path("build", "bench.md")
PAGE = Path("docs", "performance.md")
BEGIN = "<!-- the last run, put here by `python -m bench.table` -->\n"
END = "<!-- end of the last run -->\n"


def with_table(page: str, table: str) -> str:
    """The page with this table in the place of the one before.

    Raises: ValueError when the page does not say where that is.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has no place for the table: {BEGIN.strip()} … {END.strip()}")
    return f"{before}{BEGIN}\n{table.strip()}\n\n{END}{after}"


def main() -> int:
    """The exit code: 0 when the page has the table."""
    if not TABLE.exists():
        print(f"{TABLE} is missing: run `make bench` first", file=sys.stderr)
        return 1
    page = with_table(PAGE.read_text(encoding="utf-8"), TABLE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
