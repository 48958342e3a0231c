"""A plan does what is missing, in an order that any interruption can be resumed from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from exporter.migrate.plan.steps import plan_build, plan_rollback, tables_owing_analyze, waves_of
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
from tests.support.declared import declare, manifest_of, relation

TABLES = ("messages", "posts", "users", "app.messages")
OTHER_TABLES = ("preferences", "audit.log")
# Only that of a partitioned table is ever incomplete.
STATES: list[IndexState] = [state for state in IndexState if state is not IndexState.INCOMPLETE]
DROPPABLE = {
    IndexState.PRESENT,
    IndexState.INVALID_OURS,
    IndexState.DROPPING_OURS,
    IndexState.DEGRADED,
}
UNDOABLE = {IndexState.ABSENT, IndexState.PRESENT, IndexState.COVERED, IndexState.CONFLICT}


@dataclass(frozen=True)
class World:
    """A database as far as a plan depends on it; a time is the number of what happened then."""

    manifest: Manifest
    sizes: Mapping[RelationName, float]
    adopt_invalid: bool
    states: dict[str, IndexState]
    built_at: dict[str, float] = field(default_factory=dict)
    analyzed_at: dict[RelationName, float | None] = field(default_factory=dict)
    now: float = 100.0

    def observed(self) -> tuple[ObservedIndex, ...]:
        return tuple(
            ObservedIndex(index, self.states[index.name], definition=index.name)
            for index in self.manifest.indexes
        )

    def plan(self) -> Plan:
        return plan_build(
            self.manifest,
            self.observed(),
            owing_analyze=tables_owing_analyze(self.manifest, self._present(), self.analyzed_at),
            table_sizes=self.sizes,
            adopt_invalid=self.adopt_invalid,
        )

    def rollback(self) -> Plan:
        return plan_rollback(self.manifest, self.observed(), set(self.built_at))

    def after(self, step: Step) -> "World":
        """What the server and the journal show once the step is done."""
        now = self.now + 1
        match step.kind, step.index:
            case StepKind.ANALYZE, None:
                return replace(self, now=now, analyzed_at={**self.analyzed_at, step.table: now})
            case StepKind.BUILD | StepKind.ADOPT, DeclaredIndex(name=name):
                return replace(
                    self.with_state(name, IndexState.PRESENT), now=now, built_at={**self.built_at, name: now}
                )
            case StepKind.DROP_INVALID | StepKind.DROP, DeclaredIndex(name=name):
                return self.with_state(name, IndexState.ABSENT)
        raise AssertionError(f"a step of kind {step.kind} with index {step.index}")

    def after_all(self, steps: Iterable[Step]) -> "World":
        world = self
        for step in steps:
            world = world.after(step)
        return world

    def undone(self, step: Step) -> "World":
        """What the server shows once the step's undo ran, read from the SQL that would be sent."""
        if step.undo is None or step.index is None:
            return self
        undos = {
            ddl.as_text(ddl.drop_index(step.index.relation)): IndexState.ABSENT,
            ddl.as_text(ddl.create_index(step.index)): IndexState.PRESENT,
        }
        return self.with_state(step.index.name, undos[step.undo])

    def with_state(self, name: str, state: IndexState) -> "World":
        return replace(self, states={**self.states, name: state})

    def _present(self) -> dict[str, float]:
        present = {name for name, state in self.states.items() if state is IndexState.PRESENT}
        return {name: at for name, at in self.built_at.items() if name in present}


@st.composite
def worlds(draw: st.DrawFn) -> World:
    tables = draw(st.lists(st.sampled_from(TABLES), min_size=1, max_size=8))
    indexes = tuple(declare(f"idx_{number}", table) for number, table in enumerate(tables))
    analyze = draw(st.lists(st.sampled_from((*TABLES, *OTHER_TABLES)), unique=True))
    states: dict[str, IndexState] = {index.name: draw(st.sampled_from(STATES)) for index in indexes}
    times = st.floats(min_value=1, max_value=50)
    # Undeclared tables are analyzed by others too; a build of ours is known for anything but a conflict.
    manifest = manifest_of(*indexes, analyze=tuple(analyze))
    return World(
        manifest,
        sizes={relation(table): draw(st.floats(min_value=0, max_value=9)) for table in TABLES},
        adopt_invalid=draw(st.booleans()),
        states=states,
        built_at={name: draw(times) for name in states if draw(st.booleans())},
        analyzed_at={relation(table): draw(st.none() | times) for table in (*TABLES, *OTHER_TABLES)},
    )


def tables_of(steps: Sequence[Step]) -> list[RelationName]:
    return [table for table, _ in groupby(step.table for step in steps)]


def test_from_nothing_each_table_is_built_on_then_analyzed_the_largest_first() -> None:
    messages, posts = declare("idx_m", "messages"), declare("idx_p", "posts")
    manifest = manifest_of(messages, posts, analyze=("messages", "posts", "users"))

    plan = plan_build(
        manifest,
        [ObservedIndex(index, IndexState.ABSENT, "") for index in (messages, posts)],
        table_sizes={messages.table: 10, posts.table: 20},
    )

    assert [step.sql for step in plan.steps] == [
        'CREATE INDEX CONCURRENTLY "idx_p" ON "public"."posts" USING "btree" (id)',
        'ANALYZE "public"."posts"',
        'CREATE INDEX CONCURRENTLY "idx_m" ON "public"."messages" USING "btree" (id)',
        'ANALYZE "public"."messages"',
        'ANALYZE "public"."users"',
    ]


def test_nothing_is_planned_where_everything_stands() -> None:
    index = declare("idx")
    observed = [ObservedIndex(index, IndexState.PRESENT, "")]

    assert plan_build(manifest_of(index), observed) == Plan("001_test", (), tuple(observed), ())


@given(worlds())
def test_after_any_prefix_planning_again_gives_exactly_the_rest(world: World) -> None:
    steps = world.plan().steps

    for done in range(len(steps) + 1):
        assert world.after_all(steps[:done]).plan().steps == steps[done:]


@given(worlds())
def test_after_all_steps_all_that_was_not_refused_is_settled(world: World) -> None:
    plan = world.plan()

    end = world.after_all(plan.steps).plan()

    assert {index.declared for index in end.settled} == {
        index.declared for index in world.observed() if index not in plan.refused
    }
    assert [index.declared for index in end.refused] == [index.declared for index in plan.refused]


@given(worlds())
def test_undo_of_any_prefix_restores_what_stood(world: World) -> None:
    steps = world.plan().steps
    start = {name: state for name, state in world.states.items() if state in UNDOABLE}

    for done in range(len(steps) + 1):
        back = world.after_all(steps[:done])
        for step in reversed(steps[:done]):
            back = back.undone(step)

        assert {name: back.states[name] for name in start} == start


@given(worlds())
def test_undo_of_an_invalid_leftover_does_not_bring_it_back(world: World) -> None:
    plan = world.plan()
    end = world.after_all(plan.steps)
    for step in reversed(plan.steps):
        end = end.undone(step)

    rebuilt = {step.index.name for step in plan.steps if step.kind is StepKind.DROP_INVALID and step.index}

    assert {end.states[name] for name in rebuilt} <= {IndexState.ABSENT}


@given(worlds())
def test_steps_of_one_table_never_interleave_and_end_with_its_analyze(world: World) -> None:
    steps = world.plan().steps
    tables = tables_of(steps)

    assert len(tables) == len(set(tables))
    for _, lane in groupby(steps, key=lambda step: step.table):
        assert [step.kind is StepKind.ANALYZE for step in lane][-1]
    assert sum(step.kind is StepKind.ANALYZE for step in steps) == len(tables)


@given(worlds())
def test_the_largest_table_comes_first_and_the_undeclared_last(world: World) -> None:
    declared_on = {index.table for index in world.manifest.indexes}
    order = [
        (table not in declared_on, -world.sizes.get(table, 0) if table in declared_on else 0)
        for table in tables_of(world.plan().steps)
    ]

    assert order == sorted(order)


@given(worlds())
def test_what_needs_a_person_is_refused_and_has_no_step(world: World) -> None:
    plan = world.plan()
    wants_a_person = {IndexState.CONFLICT, IndexState.BUILDING_FOREIGN}
    if not world.adopt_invalid:
        wants_a_person.add(IndexState.INVALID_FOREIGN)

    assert {index.declared.name for index in plan.refused} == {
        name for name, state in world.states.items() if state in wants_a_person
    }
    touched = {step.index for step in plan.steps}
    assert not touched & {index.declared for index in (*plan.refused, *plan.settled)}


@given(worlds())
def test_an_invalid_leftover_is_dropped_right_before_it_is_built(world: World) -> None:
    steps = world.plan().steps
    dropped = [place for place, step in enumerate(steps) if step.kind is StepKind.DROP_INVALID]

    for place in dropped:
        assert steps[place + 1].kind is StepKind.BUILD
        assert steps[place + 1].index == steps[place].index


def test_what_was_set_aside_is_dropped_first_and_alone_wants_no_analyze() -> None:
    index = declare("idx_sender", "messages", "sender_id")
    manifest = manifest_of(index, analyze=("messages",))
    leftover = Leftover(7, "idx_sender_invalid_0badcafe", "public", "messages", "idx_sender")

    def plan(state: IndexState) -> Plan:
        return plan_build(manifest, [ObservedIndex(index, state, "")], leftovers=[leftover])

    kinds = [step.kind for step in plan(IndexState.ABSENT).steps]
    assert kinds == [StepKind.DROP_LEFTOVER, StepKind.BUILD, StepKind.ANALYZE]
    assert [step.kind for step in plan(IndexState.PRESENT).steps] == [StepKind.DROP_LEFTOVER]
    (step, *_) = plan_rollback(
        manifest, [ObservedIndex(index, IndexState.ABSENT, "")], [], leftovers=[leftover]
    ).steps
    assert step.sql == 'DROP INDEX CONCURRENTLY "public"."idx_sender_invalid_0badcafe"'


@given(worlds())
def test_waves_hold_every_step_once_and_whole_tables(world: World) -> None:
    steps = world.plan().steps
    lanes = [lane for wave in waves_of(steps) for lane in wave]

    assert sorted(map(repr, steps)) == sorted(repr(step) for lane in lanes for step in lane)
    assert len({lane[0].table for lane in lanes}) == len(lanes)
    for lane in lanes:
        assert list(lane) == [step for step in steps if step.table == lane[0].table]


def test_tables_that_only_want_analyze_wait_for_every_build() -> None:
    messages, posts = declare("idx_m", "messages"), declare("idx_p", "posts")
    manifest = manifest_of(messages, posts)
    observed = [
        ObservedIndex(messages, IndexState.PRESENT, ""),
        ObservedIndex(posts, IndexState.ABSENT, ""),
    ]

    steps = plan_build(
        manifest, observed, owing_analyze={messages.table}, table_sizes={messages.table: 1}
    ).steps

    assert [[step.table.relname for step, *_ in wave] for wave in waves_of(steps)] == [
        ["posts"],
        ["messages"],
    ]


@given(worlds())
def test_rollback_drops_what_the_migration_built_and_nothing_else(world: World) -> None:
    plan = world.rollback()
    mine = {name for name, state in world.states.items() if state in DROPPABLE and name in world.built_at}

    assert {step.index.name for step in plan.steps if step.index} == mine
    assert {step.kind for step in plan.steps} <= {StepKind.DROP, StepKind.ANALYZE}
    tables = tables_of(plan.steps)
    assert len(tables) == len(set(tables))


@given(worlds())
def test_rollback_undone_restores_what_stood(world: World) -> None:
    plan = world.rollback()
    valid = {name for name, state in world.states.items() if state is IndexState.PRESENT}

    for done in range(len(plan.steps) + 1):
        back = world.after_all(plan.steps[:done])
        for step in reversed(plan.steps[:done]):
            back = back.undone(step)

        assert {name: back.states[name] for name in valid} == dict.fromkeys(valid, IndexState.PRESENT)


def test_a_build_whose_end_nobody_saw_owes_analyze() -> None:
    index = declare("idx", "messages")
    manifest = manifest_of(index, analyze=("messages", "users"))
    tables = {relation("messages"): 5.0, relation("users"): None}

    assert tables_owing_analyze(manifest, {"idx": 6.0}, tables) == set(tables)
    assert tables_owing_analyze(manifest, {"idx": 4.0}, tables) == {relation("users")}
    assert tables_owing_analyze(manifest, {}, tables) == set()


def test_a_table_that_is_gone_owes_nothing() -> None:
    index = declare("idx", "messages")

    assert tables_owing_analyze(manifest_of(index), {"idx": 6.0}, {}) == set()
