"""Sizes of relations, asked for when they can have changed: all of them are half of what a scrape costs.

An index grows and shrinks with its table, and a table shows in its counters that it was written to. What
they do not show, such as a transaction that is still open, is seen after a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from exporter.metrics.reads import RelationSize
from exporter.metrics.snapshot import IndexRow, TableRow, Value, Watched

AGE_SECONDS = 60.0
# Whatever writes to a table, or is done to it, moves one of these.
WRITES = (
    *("n_tup_ins", "n_tup_upd", "n_tup_del", "n_live_tup", "n_mod_since_analyze"),
    *("last_analyze", "last_autoanalyze"),
)

ReadSizes = Callable[[Sequence[int]], Sequence[RelationSize]]


@dataclass(frozen=True, slots=True)
class _Group:
    """A table and its watched indexes: their oids and the versions of their catalogue rows."""

    oids: Sequence[int]
    versions: Sequence[str]
    # A build makes an index grow without a write to the table.
    is_building: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """The sizes of a group by oid, None without storage; when they were read, and what it was like then."""

    sizes: Mapping[int, int | None]
    read_at: float
    versions: Sequence[str]
    writes: Sequence[Value] | None


class Sizes:
    """The sizes of one database's watched relations."""

    def __init__(self) -> None:
        self._rows: tuple[Sequence[IndexRow], Sequence[TableRow]] = ((), ())
        self._groups: dict[int, _Group] = {}
        self._known: dict[int, _Known] = {}
        self._sizes: dict[int, int] = {}

    def read(
        self,
        indexes: Sequence[IndexRow],
        tables: Watched[TableRow],
        locked: Collection[int],
        *,
        shows_writes: bool,
        read_sizes: ReadSizes,
    ) -> tuple[Mapping[int, int], int]:
        """The size of each relation that has one, by oid, and how many are locked or gone.

        Everything is read where the counters do not show what is written, as on a standby.
        """
        if self._rows[0] is not indexes or self._rows[1] is not tables.rows:
            self._group(indexes, tables.rows)
        now = time.monotonic()
        writes = _writes(tables) if shows_writes else {}
        due = [
            table
            for table, group in self._groups.items()
            if not self._is_fresh(table, group, writes.get(table), now, locked)
        ]
        if due:
            self._learn(due, writes, now, read_sizes)
        missing = sum(
            len(group.oids) - len(self._known[table].sizes) for table, group in self._groups.items()
        )
        return self._sizes, missing

    def _group(self, indexes: Sequence[IndexRow], tables: Sequence[TableRow]) -> None:
        found: dict[int, list[IndexRow]] = {row.relid: [] for row in tables}
        for index in indexes:
            found.setdefault(index.relid, []).append(index)
        versions = {row.relid: row.catalogue_version for row in tables}
        self._groups = {
            table: _Group(
                [*([table] if table in versions else []), *(row.indexrelid for row in rows)],
                [versions.get(table, ""), *(row.catalogue_version for row in rows)],
                not all(row.indisvalid for row in rows),
            )
            for table, rows in found.items()
        }
        self._known = {table: known for table, known in self._known.items() if table in found}
        self._publish()
        self._rows = (indexes, tables)

    def _is_fresh(
        self, table: int, group: _Group, writes: Sequence[Value] | None, now: float, locked: Collection[int]
    ) -> bool:
        known = self._known.get(table)
        return (
            known is not None
            and now - known.read_at < AGE_SECONDS
            and writes is not None
            and writes == known.writes
            and group.versions == known.versions
            and len(known.sizes) == len(group.oids)
            and not group.is_building
            and not (locked and any(oid in locked for oid in group.oids))
        )

    def _learn(
        self, due: Sequence[int], writes: Mapping[int, Sequence[Value]], now: float, read_sizes: ReadSizes
    ) -> None:
        rows = read_sizes([oid for table in due for oid in self._groups[table].oids])
        found = {row.relid: row.size_bytes for row in rows}
        for number, table in enumerate(due):
            group = self._groups[table]
            sizes = {oid: found[oid] for oid in group.oids if oid in found}
            # Those that are first read together must not be due together ever after.
            read_at = now if table in self._known else now - AGE_SECONDS * number / len(due)
            self._known[table] = _Known(sizes, read_at, group.versions, writes.get(table))
        self._publish()

    def _publish(self) -> None:
        self._sizes = {
            oid: size
            for known in self._known.values()
            for oid, size in known.sizes.items()
            if size is not None
        }


def _writes(tables: Watched[TableRow]) -> dict[int, Sequence[Value]]:
    """What moves when a table is written to, by its oid."""
    columns = zip(*(tables.figures[column] for column in WRITES), strict=True)
    return {row.relid: figures for row, figures in zip(tables.rows, columns, strict=True)}
