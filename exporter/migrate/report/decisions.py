"""Indexes that a run does not change, and hints for those that need a decision. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.model import IndexState, ObservedIndex, Plan
from exporter.text.content import Item, Section

_STATE_WORDS = {
    IndexState.ABSENT: "absent",
    IndexState.PRESENT: "present",
    IndexState.COVERED: "covered",
    IndexState.CONFLICT: "CONFLICT",
    IndexState.INCOMPLETE: "incomplete",
    IndexState.INVALID_OURS: "INVALID",
    IndexState.INVALID_FOREIGN: "INVALID",
    IndexState.BUILDING_OURS: "building",
    IndexState.BUILDING_FOREIGN: "building",
    IndexState.DROPPING_OURS: "dropping",
    IndexState.DEGRADED: "DEGRADED",
}


def state_word(state: IndexState) -> str:
    """Return the label of a state."""
    return _STATE_WORDS[state]


def settled(plan: Plan, command: str) -> Section:
    """Return the indexes that need no work."""
    title = "Not changed" if command == "rollback" else "Already in place"
    if command == "verify":
        return Section(title)
    items = tuple(
        Item(_STATE_WORDS[index.state], _name(index), details=_details(index, command))
        for index in plan.settled
    )
    return Section(title, items)


def _details(index: ObservedIndex, command: str) -> tuple[str, ...]:
    if not is_plainly_present(index):
        return (index.detail,)
    return ("not created by this migration",) if command == "rollback" else ()


def is_plainly_present(index: ObservedIndex) -> bool:
    """Return True if the label says all: a partitioned index has partitions to count."""
    return index.state is IndexState.PRESENT and not index.is_partitioned


def refused(plan: Plan, command: str) -> Section:
    """Return the indexes that need a decision."""
    return Section("Needs a decision", tuple(_refusal(index, command) for index in plan.refused))


def _refusal(index: ObservedIndex, command: str) -> Item:
    details = (index.detail, *definitions(index))
    return Item(_STATE_WORDS[index.state], _name(index), details=details, hint=_hint(index, command))


def _hint(index: ObservedIndex, command: str) -> str:
    hints = _rollback_hints(index) if command == "rollback" else init_hints(index)
    return hints.get(index.state, "wait until it ends, then run the command again")


def init_hints(index: ObservedIndex) -> Mapping[IndexState, str]:
    """Return, by state, the hint for an index that init does not change."""
    return {
        IndexState.CONFLICT: "declare another name, or rename or drop the existing relation",
        IndexState.INVALID_FOREIGN: "run init --adopt-invalid to replace it, or drop it: "
        f"DROP INDEX CONCURRENTLY {_name(index)};",
        IndexState.BUILDING_FOREIGN: "wait until the build ends, then run init again",
    }


def _rollback_hints(index: ObservedIndex) -> Mapping[IndexState, str]:
    cancel = f"SELECT pg_cancel_backend({index.builder_pid});"
    # A partitioned index takes with it the indexes of partitions that existed before it.
    keep = "build equal indexes on the partitions under other names first, then drop it: "
    keep += f"DROP INDEX {_name(index)};"
    return {
        IndexState.CONFLICT: "this migration did not build it, so it is not dropped",
        IndexState.BUILDING_OURS: "wait until the build ends, then run rollback again; "
        f"to cancel the build: {cancel}",
        IndexState.BUILDING_FOREIGN: "wait until the build ends, then run rollback again",
        IndexState.PRESENT: keep,
        IndexState.INCOMPLETE: keep,
    }


def definitions(index: ObservedIndex) -> tuple[str, ...]:
    """Return the existing and the declared definition where they differ."""
    if index.state is not IndexState.CONFLICT or index.found_definition is None:
        return ()
    return f"existing: {index.found_definition}", f"declared: {index.definition}"


def _name(index: ObservedIndex) -> str:
    return index.declared.relation.quoted
