"""Disk: what the builds need on each volume, compared with its free space. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.migrate.options import PreflightOptions
from exporter.migrate.plan.disk_budget import DiskBudget, DiskNeed
from exporter.migrate.preflight.disk.estimate import SpaceNeeded, needed_together
from exporter.migrate.preflight.disk.free_space import (
    DISK,
    FreeSpace,
    FreeSpaces,
    Place,
    index_place,
    sort_places,
    wal_place,
)
from exporter.migrate.preflight.findings import SERVER, failed, passed, unknown, warned
from exporter.model import Finding, IndexEstimate, RelationName
from exporter.postgres.server.storage import StorageFacts
from exporter.text.figures import byte_size

# A budget that the user sets holds for all volumes together.
GIVEN_BUDGET = "the disk budget"
_NO_SOURCE = (
    "give --data-directory DIR, where the server's data directory is mounted here, or --free-bytes SIZE"
)


@dataclass(frozen=True, slots=True)
class _Demand:
    """What the builds of each table take in some places."""

    by_table: Mapping[RelationName, SpaceNeeded]
    is_rough: bool

    def together(self, max_parallel: int | None) -> SpaceNeeded:
        """What all tables take together, with that many built on at a time."""
        return needed_together(self.by_table.values(), max_parallel=max_parallel)


def check_disk(
    estimates: Sequence[IndexEstimate], storage: StorageFacts, spaces: FreeSpaces, options: PreflightOptions
) -> Iterator[Finding]:
    """One finding for each volume that is written to, and one for all places of unknown free space."""
    if spaces.fault is not None:
        yield spaces.fault
    known = dict.fromkeys(spaces.by_place.values())
    for space in known:
        yield _judged(space, _demand(estimates, storage, _places_in(space, spaces)), options)
    written = {index_place(one.index, storage) for one in estimates} | {*sort_places(storage), wal_place()}
    unknown_places = written - spaces.by_place.keys()
    if unknown_places and spaces.fault is None:
        demand = _demand(estimates, storage, unknown_places)
        need = demand.together(options.max_parallel)
        subject = ", ".join(sorted({place.title for place in unknown_places})) if known else SERVER
        said = f"{_words(need, is_rough=demand.is_rough)}; free space unknown"
        facts = _facts(need, None, is_rough=demand.is_rough)
        yield unknown(DISK, subject, "no_source", said, _NO_SOURCE, **facts)


def budget_of(
    estimates: Sequence[IndexEstimate], storage: StorageFacts, spaces: FreeSpaces, options: PreflightOptions
) -> DiskBudget:
    """What the builds may take at a time: on each volume the free space less a reserve.

    A budget that the user sets replaces it: it limits index, sort and WAL of the running builds.
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
    for space in dict.fromkeys(spaces.by_place.values()):
        ceilings[space.title] = max(0, space.free_bytes - _reserve_bytes(space, options))
        for table, need in _demand(estimates, storage, _places_in(space, spaces)).by_table.items():
            needs[table][space.title] = DiskNeed(need.index_bytes + need.wal_bytes, need.temporary_bytes)
    return DiskBudget(ceilings, needs)


def _places_in(space: FreeSpace, spaces: FreeSpaces) -> set[Place]:
    return {place for place, its in spaces.by_place.items() if its == space}


def _demand(estimates: Sequence[IndexEstimate], storage: StorageFacts, places: set[Place]) -> _Demand:
    """What the builds write to these places; a table has one sort at a time."""
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


def _reserve_bytes(space: FreeSpace, options: PreflightOptions) -> int:
    return round(options.warn_free_share * (space.size_bytes or space.free_bytes))


def _judged(space: FreeSpace, demand: _Demand, options: PreflightOptions) -> Finding:
    """Whether the builds fit one table after the other, and whether in parallel."""
    is_rough = demand.is_rough
    alone = demand.together(1)
    together = demand.together(options.max_parallel)
    if options.disk_budget_bytes is not None:
        # The budget limits what is built in parallel, and so the sorts.
        bounded = max(alone.temporary_bytes, min(together.temporary_bytes, options.disk_budget_bytes))
        alone = together = SpaceNeeded(alone.index_bytes, bounded, alone.wal_bytes)
    of_size = "" if space.size_bytes is None else f" of {byte_size(space.size_bytes)}"
    free = f"{byte_size(space.free_bytes)}{of_size} are free"
    reserve_bytes = _reserve_bytes(space, options)
    facts = _facts(alone, space, is_rough=is_rough)
    found = f"{_words(alone, is_rough=is_rough)}; {free}"
    if alone.all_bytes > space.free_bytes:
        hint = "free or add space, declare fewer indexes at a time, or declare another tablespace"
        return failed(DISK, space.title, "too_little", found, hint, **facts)
    left = space.free_bytes - alone.all_bytes
    if left < reserve_bytes:
        found += f", of which at least {byte_size(left)} remain"
        return warned(DISK, space.title, "nearly_full", found, "free or add space first", **facts)
    facts = _facts(together, space, is_rough=is_rough)
    found = f"{_words(together, is_rough=is_rough)}; {free}"
    if space.free_bytes - together.all_bytes < reserve_bytes:
        hint = "add space to build the tables in parallel; otherwise some wait for disk space"
        return warned(DISK, space.title, "not_side_by_side", found, hint, **facts)
    return passed(DISK, space.title, found, **facts)


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


def _facts(need: SpaceNeeded, space: FreeSpace | None, *, is_rough: bool) -> dict[str, object]:
    return {
        "index_bytes": need.index_bytes,
        "temporary_bytes": need.temporary_bytes,
        "wal_bytes": need.wal_bytes,
        "is_rough": is_rough,
        "free_bytes": None if space is None else space.free_bytes,
        "size_bytes": None if space is None else space.size_bytes,
    }
