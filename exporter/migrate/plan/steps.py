"""The ordered steps from the manifest and the observed state. Pure: no database, no clock.

Invariant: after any prefix of the steps, planning again gives exactly the rest. Each step turns the state
that required it into one that does not: building makes ABSENT present, dropping an INVALID or DEGRADED
index makes it ABSENT, adopting waits until a build of ours is PRESENT (after a drop of ours it builds),
analyzing is due for a table with a declared index since its last build, for any other table since the last
of all builds. Nothing else is remembered between runs.

Steps of one table stay together and in order, because two concurrent builds on one table deadlock; tables
come largest first, so that the longest build starts first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exporter.migrate.plan.partitions import (
    DROPPABLE,
    PartitionSteps,
    plan_partitions,
    plan_partitions_rollback,
    with_partitions,
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
_BUILD_LOCK = "ShareUpdateExclusiveLock on the table: reads and writes continue"
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

    `owing_analyze` are tables without an ANALYZE since their last build; `table_sizes` orders the
    tables (any unit). With `adopt_invalid` an INVALID index of unknown origin is replaced. `leftovers` are
    INVALID indexes that were renamed: they are dropped before their tables are built on.
    """
    sizes = dict(table_sizes or {})
    by_table: dict[RelationName, list[Step]] = {}
    settled: list[ObservedIndex] = []
    refused: list[ObservedIndex] = []
    partitioned = PartitionSteps(by_table=by_table)
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
            by_table.setdefault(index.declared.table, []).extend(_steps_for(index))
    declared_on = _declared_on(manifest)
    owing = set(owing_analyze) | (set(by_table) & declared_on) | partitioned_tables
    if by_table or partitioned_tables:
        owing |= set(manifest.analyze) - declared_on
    # ANALYZE of a partitioned table reads its partitions: it follows the last build on any of them.
    partitioned_tables |= {index.declared.table for index in observed if index.is_partitioned}
    last = partitioned_tables | (owing - declared_on)

    for leftover in _leftovers_of(manifest, observed, leftovers):
        by_table.setdefault(leftover.table, []).insert(0, leftover_step(leftover))

    # A table that is only analyzed keeps the place of its builds.
    ordered = sorted(set(by_table) | (owing - last), key=lambda table: (-sizes.get(table, 0.0), table))
    steps: list[Step] = [*partitioned.parents]
    for table in ordered:
        steps += by_table.get(table, ())
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
    """The tables without an ANALYZE since their last build, an undeclared table since the last of all builds.

    `built_at` has the indexes that the migration built, by name, `analyzed_at` every table of the manifest.
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


def _leftovers_of(
    manifest: Manifest, observed: Sequence[ObservedIndex], leftovers: Sequence[Leftover]
) -> Sequence[Leftover]:
    """The leftovers that a run drops: limited to some indexes, those of their tables only."""
    if not manifest.is_partial:
        return leftovers
    tables = {index.declared.table for index in with_partitions(observed)}
    return [leftover for leftover in leftovers if leftover.table in tables]


def _declared_on(manifest: Manifest) -> set[RelationName]:
    return {index.table for index in manifest.indexes}


def plan_rollback(
    manifest: Manifest,
    observed: Sequence[ObservedIndex],
    created: Collection[str],
    *,
    dropping: Collection[str] = (),
    attached_only: Collection[RelationName] = (),
    leftovers: Sequence[Leftover] = (),
) -> Plan:
    """The steps that drop what this migration created, and nothing else; each table is analyzed at its end.

    `dropping` are indexes with a drop whose end is not recorded: once absent, their tables are analyzed. An
    index that the migration did not create is settled: it is kept. One of the same name with another
    definition is refused, as is one of a partitioned table whose drop would drop `attached_only` too, indexes
    that were attached to it and not built. `leftovers`, renamed INVALID indexes, are dropped.
    """
    by_table: dict[RelationName, list[Step]] = {}
    settled: list[ObservedIndex] = []
    refused: list[ObservedIndex] = []
    partitioned = PartitionSteps(by_table=by_table)
    for index in observed:
        if index.is_partitioned and index.state is not IndexState.CONFLICT:
            refusal, is_settled = _plan_drop_of_partitioned(index, created, attached_only, partitioned)
            refused += [] if refusal is None else [refusal]
            settled += [index] if is_settled else []
            if index.state is IndexState.ABSENT and index.declared.name in dropping:
                by_table.setdefault(index.declared.table, [])
            continue
        mine = index.declared.name in created
        if index.state in DROPPABLE and mine:
            step = drop_step(index.declared, StepKind.DROP)
            by_table.setdefault(step.table, []).append(step)
        elif index.state is IndexState.ABSENT and index.declared.name in dropping:
            by_table.setdefault(index.declared.table, [])
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
    steps = [leftover_step(leftover) for leftover in _leftovers_of(manifest, observed, leftovers)]
    steps += [
        step
        for table, drops in by_table.items()
        for step in (*drops, *([] if drops and drops[0].parent else [analyze_step(table)]))
    ]
    steps += ends
    steps += [analyze_step(table) for table in sorted({end.table for end in ends} & analyzed)]
    return Plan(manifest.migration, tuple(steps), tuple(settled), tuple(refused))


def _plan_drop_of_partitioned(
    index: ObservedIndex,
    created: Collection[str],
    attached_only: Collection[RelationName],
    steps: PartitionSteps,
) -> tuple[ObservedIndex | None, bool]:
    """The index if it is refused, and whether it is settled; otherwise its steps are added."""
    count = steps.count
    refusal = plan_partitions_rollback(
        index, created, attached_only, steps, lambda leaf: drop_step(leaf, StepKind.DROP)
    )
    return refusal, refusal is None and steps.count == count


def waves_of(steps: Sequence[Step]) -> tuple[tuple[tuple[Step, ...], ...], ...]:
    """The steps by table, in order, in waves: the tables of one wave run in parallel, the waves in order.

    The indexes of partitioned tables come first, then the builds, then the last steps of partitioned tables.
    Tables that are only analyzed come last: their statistics must be newer than every build.
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
    """DROP INDEX CONCURRENTLY as a step, of an INVALID index or in a rollback."""
    return Step(
        kind,
        index.table,
        index,
        ddl.as_text(ddl.drop_index(index.relation)),
        _DROP_LOCK,
        "there is no index of that name",
        ddl.as_text(ddl.create_index(index)) if kind is StepKind.DROP else None,
    )


def leftover_step(leftover: Leftover) -> Step:
    """DROP INDEX CONCURRENTLY of an INVALID index that was renamed, as a step."""
    return Step(
        StepKind.DROP_LEFTOVER,
        leftover.table,
        DeclaredIndex(leftover.indexname, leftover.table, ()),
        ddl.as_text(ddl.drop_index(leftover.relation)),
        _DROP_LOCK,
        "there is no INVALID index of that name",
        None,
    )


def analyze_step(table: RelationName) -> Step:
    """ANALYZE of one table as a step."""
    return Step(
        StepKind.ANALYZE,
        table,
        None,
        ddl.as_text(ddl.analyze(table)),
        "ShareUpdateExclusiveLock on the table: reads and writes continue",
        "the statistics are newer than the last build on the table",
        None,
    )


def _adopt_step(observed: ObservedIndex) -> Step:
    index = observed.declared
    work = "drop" if observed.state is IndexState.DROPPING_OURS else "build"
    return Step(
        StepKind.ADOPT,
        index.table,
        index,
        f"-- follow the running {work} of {index.relation.quoted}",
        "no further lock",
        "the index is valid and defined as declared",
        None,
    )
