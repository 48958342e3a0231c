"""Which statements are published: those that read or write a watched table, and always the same ones.

Pure bookkeeping without I/O: the collector hands in what it read and asks which texts it still needs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from exporter.metrics.snapshot import StatementRow

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
MOST_REJECTED = 20_000

Key = tuple[str, int | None, bool | None]


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


class StatementSelection:
    """The statements of one database that are published; what was chosen stays chosen while it exists."""

    def __init__(self, *, max_statements: int, query_text_length: int) -> None:
        self._max_statements = max_statements
        self._query_text_length = query_text_length
        self._tables: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._texts: dict[int, str] = {}
        self._rejected: set[int] = set()
        self._chosen: set[Key] = set()

    @property
    def rejected(self) -> Collection[int]:
        """Query identifiers known not to name a watched table; the server need not send them."""
        return self._rejected

    def watch(self, tables: Iterable[str]) -> None:
        """Decide by these tables from now on; other tables than before forget every decision."""
        tables = frozenset(tables)
        if tables != self._tables or len(self._rejected) > MOST_REJECTED:
            self._tables = tables
            self._pattern = names_a_table(tables)
            self._texts, self._rejected = {}, set()

    def unknown(self, rows: Iterable[StatementRow]) -> list[int]:
        """The query identifiers among `rows` that need their text for a decision."""
        seen = {row.queryid for row in rows if row.queryid is not None}
        return sorted(seen - self._texts.keys() - self._rejected)

    def learn(self, queryids: Iterable[int], texts: Mapping[int, str | None]) -> None:
        """Decide about `queryids`; one that has no text any more is asked for again when it returns."""
        for queryid in queryids:
            if queryid not in texts:
                continue
            text = texts[queryid]
            if text is not None and self._is_wanted(text):
                self._texts[queryid] = publishable_text(text, self._query_text_length)
            else:
                self._rejected.add(queryid)

    def choose(self, rows: Sequence[StatementRow]) -> tuple[tuple[StatementRow, ...], int]:
        """The rows to publish and how many more there were than max_statements allows."""
        wanted = [row for row in rows if row.queryid in self._texts]
        present = {_key(row) for row in wanted}
        # An evicted entry gives up its place only when somebody waits for it.
        if len(self._chosen | present) > self._max_statements:
            self._chosen &= present
        by_calls = sorted(wanted, key=lambda row: (-row.calls, row.queryid, row.user))
        for row in by_calls:
            if len(self._chosen) >= self._max_statements:
                break
            self._chosen.add(_key(row))
        chosen = tuple(row for row in wanted if _key(row) in self._chosen)
        if len(self._texts) > MOST_REJECTED:
            self._texts = {row.queryid: self._texts[row.queryid] for row in wanted if row.queryid}
        return chosen, len(wanted) - len(chosen)

    def texts(self, rows: Iterable[StatementRow]) -> dict[int, str]:
        """The publishable text of each of these rows' query identifiers."""
        return {row.queryid: self._texts[row.queryid] for row in rows if row.queryid is not None}

    def _is_wanted(self, text: str) -> bool:
        if self._pattern is None:
            return False
        said, _ = without_comments(text)
        return _READS_OR_WRITES.match(said) is not None and self._pattern.search(said) is not None


def _key(row: StatementRow) -> Key:
    return (row.user, row.queryid, row.toplevel)
