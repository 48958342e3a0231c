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

_SETTLED = {IndexState.PRESENT, IndexState.COVERED}
_REFUSED = {IndexState.CONFLICT, IndexState.BUILDING_FOREIGN}
_DROPPABLE = {
    IndexState.PRESENT,
    IndexState.INVALID_OURS,
    IndexState.DROPPING_OURS,
    IndexState.DEGRADED,
}
_BUILD_LOCK = "ShareUpdateExclusiveLock on the table: reads and writes go on"
_DROP_LOCK = "ShareUpdateExclusiveLock on the table, waits for every transaction that uses it"


def plan_build(
    manifest: Manifest,
    observed: Sequence[ObservedIndex],
    *,
    owing_analyze: Collection[RelationName] = (),
    table_sizes: Mapping[RelationName, float] | None = None,
    adopt_invalid: bool = False,
) -> Plan:
    """The steps that make every declared index present and every table of a build analyzed.

    `owing_analyze` are tables whose last build was not followed by ANALYZE; `table_sizes` orders the
    tables (any unit). With `adopt_invalid` an INVALID index of unknown origin is replaced.
    """
    sizes = table_sizes or {}
    lanes: dict[RelationName, list[Step]] = {}
    settled: list[ObservedIndex] = []
    refused: list[ObservedIndex] = []
    for index in observed:
        if index.state in _SETTLED:
            settled.append(index)
        elif index.state in _REFUSED or (index.state is IndexState.INVALID_FOREIGN and not adopt_invalid):
            refused.append(index)
        else:
            lanes.setdefault(index.declared.table, []).extend(_steps_for(index))
    declared_on = _declared_on(manifest)
    owing = set(owing_analyze) | set(lanes)
    if lanes:
        owing |= set(manifest.analyze) - declared_on
    # A table that only owes ANALYZE keeps its place: it stands where its builds stood.
    ordered = sorted(owing & declared_on, key=lambda table: (-sizes.get(table, 0.0), table))
    steps: list[Step] = []
    for table in ordered:
        steps += [*lanes.get(table, ()), analyze_step(table)]
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
) -> Plan:
    """The steps that drop what this migration created, and only that, each table analyzed after its last.

    `dropped_unseen` are those that are gone by a drop whose end no run saw: their tables owe ANALYZE. An
    index that stands but was not created by the migration is settled: it stays. One that bears the name with
    another definition is refused.
    """
    lanes: dict[RelationName, list[Step]] = {}
    settled: list[ObservedIndex] = []
    refused: list[ObservedIndex] = []
    for index in observed:
        mine = index.declared.name in created
        if index.state in _DROPPABLE and mine:
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
    steps = [step for table, drops in lanes.items() for step in (*drops, analyze_step(table))]
    return Plan(manifest.migration, tuple(steps), tuple(settled), tuple(refused))


def waves_of(steps: Sequence[Step]) -> tuple[tuple[tuple[Step, ...], ...], ...]:
    """The steps by table, in order: what may run side by side, in two waves.

    Tables that only want ANALYZE come second: their statistics are to be younger than every build.
    """
    lanes: dict[RelationName, list[Step]] = {}
    for step in steps:
        lanes.setdefault(step.table, []).append(step)
    building = [lane for lane in lanes.values() if lane[0].kind is not StepKind.ANALYZE]
    analyzing = [lane for lane in lanes.values() if lane[0].kind is StepKind.ANALYZE]
    waves = (tuple(tuple(lane) for lane in wave) for wave in (building, analyzing))
    return tuple(wave for wave in waves if wave)


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
