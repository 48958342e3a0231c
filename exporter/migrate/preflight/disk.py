"""Disk: what the builds need on each volume, held against what is free there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.migrate.options import PreflightOptions
from exporter.migrate.plan.disk_budget import DiskBudget, DiskNeed
from exporter.migrate.preflight.estimate import SpaceNeeded, needed_together
from exporter.migrate.preflight.findings import SERVER, failed, passed, unknown, warned
from exporter.migrate.preflight.free_space import (
    DISK,
    Place,
    Room,
    Rooms,
    index_place,
    sort_places,
    wal_place,
)
from exporter.model import Finding, IndexEstimate, RelationName
from exporter.postgres.server.storage import StorageFacts
from exporter.text.figures import byte_size

# The ceiling that somebody sets is one for all volumes together.
GIVEN_BUDGET = "the disk budget"
_NO_SOURCE = (
    "say where its files can be seen: --data-directory DIR (on the server, or on the volume that a sidecar "
    "shares), or what is free: --free-bytes SIZE"
)


@dataclass(frozen=True, slots=True)
class _Demand:
    """What the builds of each table take in one room, or where nothing is known of it."""

    by_table: Mapping[RelationName, SpaceNeeded]
    is_rough: bool

    def together(self, max_parallel: int | None) -> SpaceNeeded:
        """What all take while so many tables are built on at a time."""
        return needed_together(self.by_table.values(), max_parallel=max_parallel)


def check_disk(
    estimates: Sequence[IndexEstimate], storage: StorageFacts, rooms: Rooms, options: PreflightOptions
) -> Iterator[Finding]:
    """One finding for each volume that is written to, and one where the volumes cannot be known."""
    if rooms.fault is not None:
        yield rooms.fault
    seen = dict.fromkeys(rooms.by_place.values())
    for room in seen:
        places = {place for place, its in rooms.by_place.items() if its == room}
        yield _judged(room, _demand(estimates, storage, places), options)
    written = {index_place(one.index, storage) for one in estimates} | {*sort_places(storage), wal_place()}
    homeless = written - rooms.by_place.keys()
    if homeless and rooms.fault is None:
        demand = _demand(estimates, storage, homeless)
        need = demand.together(options.max_parallel)
        subject = ", ".join(sorted({place.title for place in homeless})) if seen else SERVER
        said = f"{_words(need, is_rough=demand.is_rough)}; what is free is not known"
        facts = _facts(need, None, is_rough=demand.is_rough)
        yield unknown(DISK, subject, "no_source", said, _NO_SOURCE, **facts)


def budget_of(
    estimates: Sequence[IndexEstimate], storage: StorageFacts, rooms: Rooms, options: PreflightOptions
) -> DiskBudget:
    """What the builds may take at a time: of each volume what is free there but for a reserve.

    A budget that somebody gave prevails: it holds for index, sort and WAL of what is under way.
    """
    tables = dict.fromkeys(one.index.table for one in estimates)
    if options.disk_budget_bytes is not None:
        everywhere = {index_place(one.index, storage) for one in estimates}
        everywhere |= {*sort_places(storage), wal_place()}
        whole = _demand(estimates, storage, everywhere).by_table
        return DiskBudget(
            {GIVEN_BUDGET: options.disk_budget_bytes},
            {table: {GIVEN_BUDGET: DiskNeed(0, whole[table].all_bytes)} for table in tables},
        )
    ceilings: dict[str, int] = {}
    needs: dict[RelationName, dict[str, DiskNeed]] = {table: {} for table in tables}
    for room in dict.fromkeys(rooms.by_place.values()):
        places = {place for place, its in rooms.by_place.items() if its == room}
        ceilings[room.title] = max(0, room.free_bytes - _reserve_bytes(room, options))
        for table, need in _demand(estimates, storage, places).by_table.items():
            needs[table][room.title] = DiskNeed(need.index_bytes + need.wal_bytes, need.temporary_bytes)
    return DiskBudget(ceilings, needs)


def _demand(estimates: Sequence[IndexEstimate], storage: StorageFacts, places: set[Place]) -> _Demand:
    """What the builds write in these places: of the sorts of one table only one is there at a time."""
    has_sorts = not places.isdisjoint(sort_places(storage))
    has_wal = wal_place() in places
    by_table: dict[RelationName, SpaceNeeded] = {}
    is_rough = False
    for one in estimates:
        before = by_table.get(one.index.table, SpaceNeeded(0, 0, 0))
        has_index = index_place(one.index, storage) in places
        is_rough = is_rough or (one.is_rough and (has_index or has_sorts or has_wal))
        by_table[one.index.table] = SpaceNeeded(
            before.index_bytes + (one.index_bytes if has_index else 0),
            max(before.temporary_bytes, one.temporary_bytes if has_sorts else 0),
            before.wal_bytes + (one.wal_bytes if has_wal else 0),
        )
    return _Demand(by_table, is_rough)


def _reserve_bytes(room: Room, options: PreflightOptions) -> int:
    return round(options.warn_free_share * (room.size_bytes or room.free_bytes))


def _judged(room: Room, demand: _Demand, options: PreflightOptions) -> Finding:
    """Whether it fits one table after the other, and whether side by side."""
    is_rough = demand.is_rough
    alone = demand.together(1)
    together = demand.together(options.max_parallel)
    if options.disk_budget_bytes is not None:
        # Volumes are not looked at while it runs then; sorts are no more than the budget lets begin.
        bounded = max(alone.temporary_bytes, min(together.temporary_bytes, options.disk_budget_bytes))
        alone = together = SpaceNeeded(alone.index_bytes, bounded, alone.wal_bytes)
    of_size = "" if room.size_bytes is None else f" of {byte_size(room.size_bytes)}"
    free = f"{byte_size(room.free_bytes)}{of_size} are free"
    reserve_bytes = _reserve_bytes(room, options)
    facts = _facts(alone, room, is_rough=is_rough)
    found = f"{_words(alone, is_rough=is_rough)}; {free}"
    if alone.all_bytes > room.free_bytes:
        hint = "free or add space; declare fewer indexes at a time; or name another tablespace"
        return failed(DISK, room.title, "too_little", found, hint, **facts)
    left = room.free_bytes - alone.all_bytes
    if left < reserve_bytes:
        hint = f"only {byte_size(left)} would be left at the worst moment: free or add space first"
        return warned(DISK, room.title, "nearly_full", found, hint, **facts)
    facts = _facts(together, room, is_rough=is_rough)
    found = f"{_words(together, is_rough=is_rough)}; {free}"
    if room.free_bytes - together.all_bytes < reserve_bytes:
        hint = "tables will wait for the disk, and for each other; with more space they need not"
        return warned(DISK, room.title, "not_side_by_side", found, hint, **facts)
    return passed(DISK, room.title, found, **facts)


def _words(need: SpaceNeeded, *, is_rough: bool) -> str:
    parts = [
        f"{what} {byte_size(size)}"
        for what, size in (
            ("indexes", need.index_bytes),
            ("sorting", need.temporary_bytes),
            ("WAL", need.wal_bytes),
        )
        if size
    ]
    bound = "roughly" if is_rough else "up to"
    return f"needs {bound} {byte_size(need.all_bytes)}" + (f" ({', '.join(parts)})" if parts else "")


def _facts(need: SpaceNeeded, room: Room | None, *, is_rough: bool) -> dict[str, object]:
    return {
        "index_bytes": need.index_bytes,
        "temporary_bytes": need.temporary_bytes,
        "wal_bytes": need.wal_bytes,
        "is_rough": is_rough,
        "free_bytes": None if room is None else room.free_bytes,
        "size_bytes": None if room is None else room.size_bytes,
    }
