"""Sizes of relations, asked for when they can have changed: all of them are half of what a scrape costs.

An index grows and shrinks with its table, and a table shows in its counters that it was written to. What
they do not show, such as a transaction that is still open, is seen after a minute.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.metrics.snapshot import Watched
from exporter.postgres.counters.figures import Value
from exporter.postgres.counters.indexes import IndexRow
from exporter.postgres.counters.sizes import RelationSize
from exporter.postgres.counters.tables import TableRow

AGE_SECONDS = 60.0
# Asked for together: so few that even a server which has to open every file answers within a second.
BATCH_RELATIONS = 2000
# Whatever writes to a table, or is done to it, moves one of these.
WRITES = (
    *("n_tup_ins", "n_tup_upd", "n_tup_del", "n_live_tup", "n_mod_since_analyze"),
    *("last_analyze", "last_autoanalyze"),
)

ReadSizes = Callable[[Sequence[int]], Sequence[RelationSize]]


@dataclass(frozen=True, slots=True)
class SizesRead:
    """Bytes by oid; how many relations are locked or gone, and for how many there was no time."""

    sizes: Mapping[int, int]
    missing: int
    unread: int


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


class SizeCache:
    """The sizes of one database's watched relations."""

    def __init__(self) -> None:
        self._rows: tuple[Sequence[IndexRow], Sequence[TableRow]] = ((), ())
        self._groups: dict[int, _Group] = {}
        self._known: dict[int, _Known] = {}
        self._sizes: dict[int, int] = {}
        self._wanted = 0

    def read(
        self,
        indexes: Sequence[IndexRow],
        tables: Watched[TableRow],
        locked: Collection[int],
        *,
        shows_writes: bool,
        until: float,
        read_sizes: ReadSizes,
    ) -> SizesRead:
        """The size of each relation that has one, by oid, and how many are not as they should be.

        None is asked for after `until` (of time.monotonic()): what is left is due the next time. Everything
        is due where the counters do not show what is written, as on a standby.
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
        # Those not known yet come first, then the oldest, so that every table has its turn.
        due.sort(key=lambda table: self._known[table].read_at if table in self._known else -math.inf)
        left = self._learn_in_time(due, writes, until, read_sizes)
        unread = sum(len(self._groups[table].oids) for table in left)
        unknown = sum(len(self._groups[table].oids) for table in left if table not in self._known)
        known = sum(len(known.sizes) for known in self._known.values())
        return SizesRead(self._sizes, self._wanted - known - unknown, unread)

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
        self._wanted = sum(len(group.oids) for group in self._groups.values())
        self._sizes = {}
        self._publish(self._known)
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

    def _learn_in_time(
        self, due: Sequence[int], writes: Mapping[int, Sequence[Value]], until: float, read_sizes: ReadSizes
    ) -> Sequence[int]:
        """Read what is due, batch by batch; return what there was no time for."""
        longest, position = 0.0, 0
        while position < len(due):
            began = time.monotonic()
            if began + longest >= until:
                break
            end, relations = position, 0
            while end < len(due) and relations < BATCH_RELATIONS:
                relations += len(self._groups[due[end]].oids)
                end += 1
            self._learn(due[position:end], writes, began, read_sizes)
            longest = max(longest, time.monotonic() - began)
            position = end
        return due[position:]

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
        self._publish(due)

    def _publish(self, tables: Iterable[int]) -> None:
        """Make a new mapping if sizes of these tables changed; earlier snapshots keep theirs."""
        found = {
            oid: self._known[table].sizes.get(oid) for table in tables for oid in self._groups[table].oids
        }
        changed = {oid: size for oid, size in found.items() if size != self._sizes.get(oid)}
        if changed:
            sizes = {**self._sizes, **changed}
            self._sizes = {oid: size for oid, size in sizes.items() if size is not None}


def _writes(tables: Watched[TableRow]) -> dict[int, Sequence[Value]]:
    """What moves when a table is written to, by its oid."""
    columns = zip(*(tables.figures[column] for column in WRITES), strict=True)
    return {row.relid: figures for row, figures in zip(tables.rows, columns, strict=True)}
