"""Which statements are published: those that read or write a watched table, and always the same ones.

Pure bookkeeping without I/O: the collector hands in what it read and asks which texts it still needs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from exporter.evidence.statement_matching import is_wanted, names_a_table, publishable_text
from exporter.postgres.counters.statements import StatementRow

MOST_REJECTED = 20_000

Key = tuple[str, int | None, bool | None]


class StatementSelection:
    """The published statements of one database; what was chosen stays chosen while it exists."""

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
        """Decide by these tables from now on; when they change, every decision is made anew."""
        tables = frozenset(tables)
        if tables != self._tables or len(self._rejected) > MOST_REJECTED:
            self._tables = tables
            self._pattern = names_a_table(tables)
            self._texts, self._rejected = {}, set()

    def unknown(self, rows: Iterable[StatementRow]) -> list[int]:
        """The query identifiers among `rows` whose text is needed for a decision."""
        seen = {row.queryid for row in rows if row.queryid is not None}
        return sorted(seen - self._texts.keys() - self._rejected)

    def learn(self, queryids: Iterable[int], texts: Mapping[int, str | None]) -> None:
        """Decide about `queryids`; an identifier without a text is asked for again when it returns."""
        for queryid in queryids:
            if queryid not in texts:
                continue
            text = texts[queryid]
            if text is not None and self._pattern is not None and is_wanted(text, self._pattern):
                self._texts[queryid] = publishable_text(text, self._query_text_length)
            else:
                self._rejected.add(queryid)

    def choose(self, rows: Sequence[StatementRow]) -> tuple[tuple[StatementRow, ...], int]:
        """The rows to publish and how many more there were than max_statements allows."""
        wanted = [row for row in rows if row.queryid in self._texts]
        present = {_key(row) for row in wanted}
        # An evicted entry loses its place only when another statement needs it.
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


def _key(row: StatementRow) -> Key:
    return (row.user, row.queryid, row.toplevel)
