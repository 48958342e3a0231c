"""Indexes that a run leaves as they are, and what a person can do about those that need a decision. Pure."""

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
_PLAINLY_PRESENT = "present as declared"


def state_word(state: IndexState) -> str:
    """The state as a label."""
    return _STATE_WORDS[state]


def settled(plan: Plan, command: str) -> Section:
    """What needs nothing."""
    title = "Left as they are" if command == "rollback" else "In place before"
    if command == "verify":
        return Section(title)
    items = tuple(
        Item(_STATE_WORDS[index.state], _name(index), details=_told(index)) for index in plan.settled
    )
    return Section(title, items)


def _told(index: ObservedIndex) -> tuple[str, ...]:
    """The detail where it says more than the label."""
    return () if is_plainly_present(index) else (index.detail,)


def is_plainly_present(index: ObservedIndex) -> bool:
    """True where the detail says no more than the label."""
    return index.state is IndexState.PRESENT and index.detail == _PLAINLY_PRESENT


def refused(plan: Plan, command: str) -> Section:
    """What a person has to decide on."""
    return Section("Needs a decision", tuple(_refusal(index, command) for index in plan.refused))


def _refusal(index: ObservedIndex, command: str) -> Item:
    details = (index.detail, *definitions(index))
    return Item(_STATE_WORDS[index.state], _name(index), details=details, hint=_hint(index, command))


def _hint(index: ObservedIndex, command: str) -> str:
    hints = _rollback_hints(index) if command == "rollback" else init_hints(index)
    return hints.get(index.state, "wait until it ends, then try again")


def init_hints(index: ObservedIndex) -> Mapping[IndexState, str]:
    """What a person can do about an index that init leaves alone, by its state."""
    return {
        IndexState.CONFLICT: "declare another name, or rename or drop what bears this one",
        IndexState.INVALID_FOREIGN: "init --adopt-invalid replaces it; or drop it: "
        f"DROP INDEX CONCURRENTLY {_name(index)}",
        IndexState.BUILDING_FOREIGN: "wait until it is built, then run init again",
    }


def _rollback_hints(index: ObservedIndex) -> Mapping[IndexState, str]:
    cancel = f"SELECT pg_cancel_backend({index.builder_pid})"
    # Only of a partitioned table: indexes of partitions that stood before would go with it.
    keep = "build equal indexes there under other names, concurrently; then drop it by hand: "
    keep += f"DROP INDEX {_name(index)}"
    return {
        IndexState.CONFLICT: "it is not the one that was built, so it stays; drop it by hand if it is to go",
        IndexState.BUILDING_OURS: f"wait until it is built, or end it: {cancel}; then run rollback again",
        IndexState.BUILDING_FOREIGN: "wait until that ends, then run rollback again",
        IndexState.PRESENT: keep,
        IndexState.INCOMPLETE: keep,
    }


def definitions(index: ObservedIndex) -> tuple[str, ...]:
    """Both definitions where the one found differs from the one declared."""
    if index.state is not IndexState.CONFLICT or index.found_definition is None:
        return ()
    return f"found: {index.found_definition}", f"declared: {index.definition}"


def _name(index: ObservedIndex) -> str:
    return index.declared.relation.quoted
