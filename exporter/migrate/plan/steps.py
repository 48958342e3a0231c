"""From the manifest and what stands, the ordered steps. Pure: no database, no clock.

The invariant: after any prefix of the steps, planning again gives exactly the rest. It holds because each
step turns the state that demanded it into one that does not: building makes ABSENT present, dropping an
INVALID or DEGRADED index makes it ABSENT, adopting waits until a build of ours is PRESENT (after a drop of
ours it builds), analyzing pays what a table owes: one with a declared index since its last build, any other
table to analyze since the last of all builds. Nothing else is remembered between runs.

Steps of one table stay together and in order, because two concurrent builds on one table kill each other;
tables come largest first, so that the longest build starts at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exporter.migrate.plan.partitions import (
    DROPPABLE,
    PartitionSteps,
    plan_partitions,
    plan_partitions_rollback,
)
from exporter.model import (
    DeclaredIndex,
    IndexState,
    Manifest,
    ObservedIndex,
    Plan,
    RelationName,
    Step,
    StepKind,
)
from exporter.postgres import ddl
from exporter.postgres.journal import Leftover

_PARENTS, _BUILDS, _ENDS, _LAST = range(4)
_SETTLED = {IndexState.PRESENT, IndexState.COVERED}
_REFUSED = {IndexState.CONFLICT, IndexState.BUILDING_FOREIGN}
_BUILD_LOCK = "ShareUpdateExclusiveLock on the table: reads and writes go on"
_DROP_LOCK = "ShareUpdateExclusiveLock on the table, waits for every transaction that uses it"


def plan_build(
    manifest: Manifest,
    observed: Sequence[ObservedIndex],
    *,
    owing_analyze: Collection[RelationName] = (),
    table_sizes: Mapping[RelationName, float] | None = None,
    adopt_invalid: bool = False,
    leftovers: Sequence[Leftover] = (),
) -> Plan:
    """The steps that make every declared index present and every table of a build analyzed.

    `owing_analyze` are tables whose last build was not followed by ANALYZE; `table_sizes` orders the
    tables (any unit). With `adopt_invalid` an INVALID index of unknown origin is replaced. `leftovers` are
    INVALID indexes that were set aside: they are dropped before their tables are built on.
    """
    sizes = dict(table_sizes or {})
    lanes: dict[RelationName, list[Step]] = {}
    settled: list[ObservedIndex] = []
    refused: list[ObservedIndex] = []
    partitioned = PartitionSteps(lanes=lanes)
    partitioned_tables: set[RelationName] = set()
    for index in observed:
        if index.state in _SETTLED:
            settled.append(index)
        elif index.state in _REFUSED or (index.state is IndexState.INVALID_FOREIGN and not adopt_invalid):
            refused.append(index)
        elif index.is_partitioned:
            partitioned_tables.add(index.declared.table)
            sizes |= {one.observed.declared.table: float(one.relpages) for one in index.partitions}
            plan_partitions(index, partitioned, _steps_for)
        else:
            lanes.setdefault(index.declared.table, []).extend(_steps_for(index))
    declared_on = _declared_on(manifest)
    owing = set(owing_analyze) | (set(lanes) & declared_on) | partitioned_tables
    if lanes or partitioned_tables:
        owing |= set(manifest.analyze) - declared_on
    # ANALYZE of a partitioned table goes through its partitions: after the last build on any of them.
    partitioned_tables |= {index.declared.table for index in observed if index.is_partitioned}
    last = partitioned_tables | (owing - declared_on)

    for leftover in leftovers:
        lanes.setdefault(leftover.table, []).insert(0, leftover_step(leftover))

    # A table that only owes ANALYZE keeps its place: it stands where its builds stood.
    ordered = sorted(set(lanes) | (owing - last), key=lambda table: (-sizes.get(table, 0.0), table))
    steps: list[Step] = [*partitioned.parents]
    for table in ordered:
        steps += lanes.get(table, ())
        if table in owing - last:
            steps.append(analyze_step(table))
    steps += partitioned.ends
    steps += [analyze_step(table) for table in sorted(owing & partitioned_tables)]
    steps += [analyze_step(table) for table in sorted(owing - declared_on)]
    return Plan(manifest.migration, tuple(steps), tuple(settled), tuple(refused))


def tables_owing_analyze(
    manifest: Manifest,
    built_at: Mapping[str, float],
    analyzed_at: Mapping[RelationName, float | None],
) -> frozenset[RelationName]:
    """The tables that were built on and not analyzed since; an undeclared one owes for every build.

    `built_at` has the indexes by name that the migration built, `analyzed_at` every table that is there.
    Units: seconds since the epoch.
    """
    newest: dict[RelationName, float] = {}
    for index in manifest.indexes:
        if index.name in built_at:
            newest[index.table] = max(built_at[index.name], newest.get(index.table, 0.0))
    if newest:
        last = max(newest.values())
        newest |= dict.fromkeys(set(manifest.analyze) - _declared_on(manifest), last)
    return frozenset(
        table
        for table, built in newest.items()
        if table in analyzed_at and (analyzed_at[table] or 0.0) < built
    )


def _declared_on(manifest: Manifest) -> set[RelationName]:
    return {index.table for index in manifest.indexes}


def plan_rollback(
    manifest: Manifest,
    observed: Sequence[ObservedIndex],
    created: Collection[str],
    *,
    dropped_unseen: Collection[str] = (),
    stood_before: Collection[RelationName] = (),
    leftovers: Sequence[Leftover] = (),
) -> Plan:
    """The steps that drop what this migration created, and only that, each table analyzed after its last.

    `dropped_unseen` are those that are gone by a drop whose end no run saw: their tables owe ANALYZE. An
    index that stands but was not created by the migration is settled: it stays. One that bears the name with
    another definition is refused, as is one of a partitioned table while `stood_before`, what was attached
    to it and not built, would go with it. `leftovers` are INVALID indexes that were set aside: they go too.
    """
    lanes: dict[RelationName, list[Step]] = {}
    settled: list[ObservedIndex] = []
    refused: list[ObservedIndex] = []
    partitioned = PartitionSteps(lanes=lanes)
    for index in observed:
        if index.is_partitioned and index.state is not IndexState.CONFLICT:
            _plan_drop_of_partitioned(index, created, stood_before, partitioned, settled, refused)
            if index.state is IndexState.ABSENT and index.declared.name in dropped_unseen:
                lanes.setdefault(index.declared.table, [])
            continue
        mine = index.declared.name in created
        if index.state in DROPPABLE and mine:
            step = drop_step(index.declared, StepKind.DROP)
            lanes.setdefault(step.table, []).append(step)
        elif index.state is IndexState.ABSENT and index.declared.name in dropped_unseen:
            lanes.setdefault(index.declared.table, [])
            settled.append(index)
        elif index.state in (
            IndexState.CONFLICT,
            IndexState.BUILDING_OURS,
            IndexState.BUILDING_FOREIGN,
        ):
            refused.append(index)
        else:
            settled.append(index)
    ends = partitioned.ends
    analyzed = {index.declared.table for index in observed if index.is_partitioned}
    steps = [leftover_step(leftover) for leftover in leftovers]
    steps += [
        step
        for table, drops in lanes.items()
        for step in (*drops, *([] if drops and drops[0].parent else [analyze_step(table)]))
    ]
    steps += ends
    steps += [analyze_step(table) for table in sorted({end.table for end in ends} & analyzed)]
    return Plan(manifest.migration, tuple(steps), tuple(settled), tuple(refused))


def _plan_drop_of_partitioned(
    index: ObservedIndex,
    created: Collection[str],
    stood_before: Collection[RelationName],
    steps: PartitionSteps,
    settled: list[ObservedIndex],
    refused: list[ObservedIndex],
) -> None:
    before = len(steps.ends), {table: len(lane) for table, lane in steps.lanes.items()}
    refusal = plan_partitions_rollback(
        index, created, stood_before, steps, lambda leaf: drop_step(leaf, StepKind.DROP)
    )
    after = len(steps.ends), {table: len(lane) for table, lane in steps.lanes.items()}
    if refusal is not None:
        refused.append(refusal)
    elif before == after:
        settled.append(index)


def waves_of(steps: Sequence[Step]) -> tuple[tuple[tuple[Step, ...], ...], ...]:
    """The steps by table, in order: what may run side by side, in waves one after the other.

    The indexes of partitioned tables come first, then the builds, then what ends those of partitioned
    tables. Tables that only want ANALYZE come last: their statistics are to be younger than every build.
    """
    building = {step.table for step in steps if _wave_of(step) == _BUILDS}
    waves: dict[int, dict[RelationName, list[Step]]] = {number: {} for number in range(_LAST + 1)}
    for step in steps:
        number = _wave_of(step)
        if step.kind is StepKind.ANALYZE and step.table in building:
            number = _BUILDS
        waves[number].setdefault(step.table, []).append(step)
    return tuple(tuple(map(tuple, wave.values())) for wave in waves.values() if wave)


def _wave_of(step: Step) -> int:
    match step.kind:
        case StepKind.CREATE_PARENT:
            return _PARENTS
        case StepKind.ANALYZE:
            return _LAST
        case StepKind.DROP_PARENT:
            return _ENDS
        case StepKind.ATTACH if step.index is not None and step.index.table != step.table:
            return _ENDS
        case _:
            return _BUILDS


def _steps_for(index: ObservedIndex) -> tuple[Step, ...]:
    build = build_step(index.declared)
    match index.state:
        case IndexState.ABSENT:
            return (build,)
        case IndexState.BUILDING_OURS | IndexState.DROPPING_OURS:
            return (_adopt_step(index),)
        case _:
            return (drop_step(index.declared, StepKind.DROP_INVALID), build)


def build_step(index: DeclaredIndex) -> Step:
    """CREATE INDEX CONCURRENTLY as a step."""
    return Step(
        StepKind.BUILD,
        index.table,
        index,
        ddl.as_text(ddl.create_index(index)),
        _BUILD_LOCK,
        "the index is valid and defined as declared",
        ddl.as_text(ddl.drop_index(index.relation)),
    )


def drop_step(index: DeclaredIndex, kind: StepKind) -> Step:
    """DROP INDEX CONCURRENTLY as a step, of an INVALID leftover or as an undo."""
    return Step(
        kind,
        index.table,
        index,
        ddl.as_text(ddl.drop_index(index.relation)),
        _DROP_LOCK,
        "no index bears the name",
        ddl.as_text(ddl.create_index(index)) if kind is StepKind.DROP else None,
    )


def leftover_step(leftover: Leftover) -> Step:
    """DROP INDEX CONCURRENTLY of an INVALID index that was set aside, as a step."""
    return Step(
        StepKind.DROP_LEFTOVER,
        leftover.table,
        DeclaredIndex(leftover.indexname, leftover.table, ()),
        ddl.as_text(ddl.drop_index(leftover.relation)),
        _DROP_LOCK,
        "no INVALID index bears the name",
        None,
    )


def analyze_step(table: RelationName) -> Step:
    """ANALYZE of one table as a step."""
    return Step(
        StepKind.ANALYZE,
        table,
        None,
        ddl.as_text(ddl.analyze(table)),
        "ShareUpdateExclusiveLock on the table: reads and writes go on",
        "the statistics are younger than the last build on the table",
        None,
    )


def _adopt_step(observed: ObservedIndex) -> Step:
    index = observed.declared
    work = "drop" if observed.state is IndexState.DROPPING_OURS else "build"
    return Step(
        StepKind.ADOPT,
        index.table,
        index,
        f"-- follow the {work} of {index.relation.quoted} that runs in the server",
        "none of its own",
        "the index is valid and defined as declared",
        None,
    )
