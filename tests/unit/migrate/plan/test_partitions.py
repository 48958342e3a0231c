"""The steps for a partitioned table, from any state of any tree, and the names of what they build."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from exporter.migrate.plan.partitions import on_partition, partition_index_name
from exporter.migrate.plan.steps import plan_build, plan_rollback, waves_of
from exporter.model import IndexState, ObservedIndex, ObservedPartition, RelationName, Step, StepKind
from exporter.postgres import ddl
from tests.support.declared import declare, manifest_of, relation

ROOT = declare("idx", "events", "id")
MANIFEST = manifest_of(ROOT)
LEAF_STATES = [
    IndexState.ABSENT,
    IndexState.PRESENT,
    IndexState.INVALID_OURS,
    IndexState.BUILDING_OURS,
]


@dataclass(frozen=True)
class Node:
    """A table of the tree: the number of the one above (0 is the root), and how its index stands."""

    above: int
    is_leaf: bool
    state: IndexState
    is_attached: bool


@dataclass(frozen=True)
class Tree:
    """A partitioned table and what stands; the server's rules in `settled`."""

    root: IndexState
    nodes: Mapping[int, Node]

    def observed(self) -> ObservedIndex:
        partitions = tuple(
            ObservedPartition(
                ObservedIndex(
                    on_partition(ROOT, relation(f"t{number}"), f"idx_t{number}"),
                    node.state,
                    "",
                    is_partitioned=not node.is_leaf,
                    indexrelid=None if node.state is IndexState.ABSENT else number,
                ),
                self.name(node.above),
                node.is_attached,
                number,
            )
            for number, node in self.nodes.items()
        )
        state = self.root
        indexrelid = None if state is IndexState.ABSENT else 0
        return ObservedIndex(
            ROOT, state, "", is_partitioned=True, partitions=partitions, indexrelid=indexrelid
        )

    def name(self, number: int) -> RelationName:
        return ROOT.relation if number == 0 else relation(f"idx_t{number}")

    def steps(self) -> tuple[Step, ...]:
        owing = {ROOT.table} if self.root is IndexState.PRESENT else set[RelationName]()
        return plan_build(MANIFEST, [self.observed()], owing_analyze=owing, adopt_invalid=True).steps

    def after(self, step: Step) -> "Tree":
        """What the server shows once the step is done; it refuses what makes nothing valid."""
        assert step.index is not None
        number = 0 if step.index == ROOT else int(step.index.name.removeprefix("idx_t"))
        match step.kind:
            case StepKind.CREATE_PARENT:
                begun = self._with(number, state=IndexState.INCOMPLETE)
                return begun if self.has_partitions(number) else begun.settled(number)
            case StepKind.DROP_INVALID:
                return self._with(number, state=IndexState.ABSENT)
            case StepKind.BUILD | StepKind.ADOPT:
                return self._with(number, state=IndexState.PRESENT)
            case StepKind.ATTACH:
                node = self.nodes[number]
                assert node.state is IndexState.PRESENT, "an INVALID index is never attached"
                assert self.state(node.above) in (IndexState.INCOMPLETE, IndexState.PRESENT)
                return self._with(number, is_attached=True).settled(node.above)
            case _:
                raise AssertionError(f"a step of kind {step.kind}")

    def state(self, number: int) -> IndexState:
        return self.root if number == 0 else self.nodes[number].state

    def has_partitions(self, number: int) -> bool:
        return any(node.above == number for node in self.nodes.values())

    def settled(self, number: int) -> "Tree":
        """With the index valid when all below are attached and valid, and so on upwards."""
        below = [node for node in self.nodes.values() if node.above == number]
        if not all(node.is_attached and node.state is IndexState.PRESENT for node in below):
            return self
        tree = self._with(number, state=IndexState.PRESENT)
        above = None if number == 0 else self.nodes[number].above
        return tree.settled(above) if above is not None and self.nodes[number].is_attached else tree

    def _with(self, number: int, **changes: object) -> "Tree":
        if number == 0:
            return replace(self, root=changes["state"])  # type: ignore[arg-type]  # a state
        node = replace(self.nodes[number], **changes)  # type: ignore[arg-type]  # fields of a node
        return replace(self, nodes={**self.nodes, number: node})


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    nodes: dict[int, Node] = {}
    root = draw(st.sampled_from([IndexState.ABSENT, IndexState.INCOMPLETE, IndexState.INVALID_FOREIGN]))
    for number in range(1, draw(st.integers(min_value=1, max_value=8)) + 1):
        above = draw(st.sampled_from([0, *(one for one, node in nodes.items() if not node.is_leaf)]))
        is_leaf = draw(st.booleans())
        has_parent = (root if above == 0 else nodes[above].state) is not IndexState.ABSENT
        states = LEAF_STATES if is_leaf else [IndexState.ABSENT, IndexState.INCOMPLETE]
        state = draw(st.sampled_from(states))
        # A leaf is attached valid; one with partitions may be attached before it is.
        can_be = has_parent and state in (IndexState.PRESENT, IndexState.INCOMPLETE)
        nodes[number] = Node(above, is_leaf, state, can_be and draw(st.booleans()))
    for number, node in nodes.items():
        # Nothing makes it valid: that is refused.
        if node.state is IndexState.INCOMPLETE and number not in {one.above for one in nodes.values()}:
            nodes[number] = replace(node, state=IndexState.PRESENT)
    return Tree(root, nodes)


@given(trees())
def test_after_any_prefix_planning_again_gives_exactly_the_rest(tree: Tree) -> None:
    steps = [step for step in tree.steps() if step.kind is not StepKind.ANALYZE]

    for done in range(len(steps) + 1):
        rest = [step for step in tree.steps() if step.kind is not StepKind.ANALYZE]
        assert rest == steps[done:]
        if rest:
            tree = tree.after(rest[0])

    assert tree.root is IndexState.PRESENT


@given(trees())
def test_waves_hold_every_step_once_and_end_with_analyze(tree: Tree) -> None:
    steps = tree.steps()
    waves = waves_of(steps)

    assert sorted(map(repr, steps)) == sorted(repr(step) for wave in waves for lane in wave for step in lane)
    assert [[step.kind for step in lane] for lane in waves[-1]] == [[StepKind.ANALYZE]]
    for step in (step for wave in waves for lane in wave for step in lane):
        if step.kind is not StepKind.ANALYZE:
            tree = tree.after(step)
    assert tree.root is IndexState.PRESENT


@given(trees())
def test_a_rollback_drops_what_is_not_attached_concurrently_and_the_rest_with_the_whole(tree: Tree) -> None:
    tree = replace(tree, root=IndexState.INCOMPLETE)
    observed = tree.observed()
    created = {ROOT.name, *(one.observed.declared.name for one in observed.partitions)}

    steps = plan_rollback(MANIFEST, [observed], created).steps

    dropped = [step for step in steps if step.index is not None]
    assert dropped[-1].sql == ddl.as_text(ddl.drop_index(ROOT.relation, concurrently=False))
    for one in observed.partitions:
        kinds = [step.kind for step in dropped if step.index == one.observed.declared]
        if one.is_attached or one.observed.state in (IndexState.ABSENT, IndexState.BUILDING_OURS):
            assert kinds == []
        else:
            assert kinds == [StepKind.DROP_PARENT if one.observed.is_partitioned else StepKind.DROP]


def test_an_index_that_stood_before_keeps_the_whole_from_being_dropped() -> None:
    tree = Tree(IndexState.PRESENT, {1: Node(0, True, IndexState.PRESENT, True)})

    plan = plan_rollback(MANIFEST, [tree.observed()], {ROOT.name}, attached_only={relation("idx_t1")})

    assert plan.steps == ()
    assert [index.declared for index in plan.refused] == [ROOT]
    assert "public.idx_t1" in plan.refused[0].detail


IDENTIFIERS = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=63
).filter(lambda text: len(text.encode()) <= 63)


@given(IDENTIFIERS, IDENTIFIERS, st.sets(IDENTIFIERS, min_size=2, max_size=5))
def test_names_are_short_enough_whole_in_every_character_and_different(
    index_name: str, schemaname: str, relnames: set[str]
) -> None:
    index = declare(index_name, RelationName(schemaname, "events"), "id")
    taken: set[str] = {index_name}
    for schema in (schemaname, f"{schemaname}2"):
        for relname in relnames:
            table = RelationName(schema, relname)
            name = partition_index_name(index, table, taken)

            assert name == partition_index_name(index, table, taken)
            assert name not in taken
            assert len(name.encode()) <= 63
            assert name.encode().decode() == name
            taken.add(name)


def test_a_name_tells_index_and_partition_where_both_fit() -> None:
    assert partition_index_name(ROOT, relation("events_2024"), set()) == "idx_events_2024"
    assert partition_index_name(ROOT, relation("archive.events_2024"), set()).startswith("idx_events_2024_")
    assert partition_index_name(ROOT, relation("ä" * 31), set()).startswith("idx_" + "ä" * 25 + "_")
