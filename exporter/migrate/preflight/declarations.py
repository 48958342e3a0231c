"""Declarations: whether the server accepts them, and the state of each index. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.errors import Fault
from exporter.migrate.preflight.findings import DATABASE, failed, passed, unknown, warned
from exporter.model import Finding, IndexState, Manifest, ObservedIndex

_CRITERION = "definition"
_BLOCKED_HINTS = {
    IndexState.CONFLICT: "declare another name, or rename or drop the existing relation",
    IndexState.BUILDING_FOREIGN: "wait until it is built",
}


def check_declarations(observed: Sequence[ObservedIndex]) -> tuple[Finding, ...]:
    """One finding for each declaration that the server has compiled, by the state of its index."""
    return tuple(map(_declaration, observed))


def _declaration(index: ObservedIndex) -> Finding:
    subject = index.declared.relation.quoted
    facts = {"definition": index.definition, "state": index.state.value}
    if index.state in _BLOCKED_HINTS:
        return failed(
            _CRITERION, subject, index.state.value, index.detail, _BLOCKED_HINTS[index.state], **facts
        )
    if index.state is IndexState.INVALID_FOREIGN:
        hint = f"rerun with --adopt-invalid to replace it, or drop it: DROP INDEX CONCURRENTLY {subject}"
        return failed(_CRITERION, subject, index.state.value, index.detail, hint, **facts)
    if index.state in (IndexState.INVALID_OURS, IndexState.DEGRADED):
        return warned(
            _CRITERION, subject, index.state.value, index.detail, "init cleans it up first", **facts
        )
    return passed(_CRITERION, subject, f"compiles; {index.detail}", **facts)


def declaration_findings(faults: Sequence[Fault]) -> tuple[Finding, ...]:
    """The declarations that do not fit the database, as findings."""
    return tuple(failed(_CRITERION, fault.place, "refused", fault.what, fault.hint) for fault in faults)


def uncompiled_findings(faults: Sequence[Fault]) -> tuple[Finding, ...]:
    """The declarations that this role or server cannot compile, as findings: they may be right."""
    return tuple(unknown(_CRITERION, fault.place, "not_compiled", fault.what, fault.hint) for fault in faults)


def not_compiled(manifest: Manifest) -> Finding:
    """That declarations were not compiled, because another check failed."""
    count = len(manifest.indexes)
    found = f"{count} declared index{'es' if count != 1 else ''} not compiled"
    return unknown(_CRITERION, DATABASE, "not_tried", found, "resolve the failed checks first")
