"""The result of `status` as sections of text, as JSON and as an exit code. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from exporter.migrate.report.decisions import definitions, init_hints, is_plainly_present, state_word
from exporter.migrate.report.exit_codes import DONE, FAILED, HALTED, LEFT_BEHIND
from exporter.migrate.report.summary import counted
from exporter.migrate.status import IndexStatus, IndexUsage, Status
from exporter.model import IndexState
from exporter.postgres.journal import LogRow
from exporter.postgres.sessions.other_sessions import shown_on_one_line
from exporter.postgres.sessions.tool_sessions import run_of
from exporter.text.content import Content, Item, Section
from exporter.text.figures import byte_size, duration, moment

SCHEMA_VERSION = 1

_LEFT = {IndexState.INVALID_OURS, IndexState.INVALID_FOREIGN, IndexState.DEGRADED}
_HALTING = {
    IndexState.CONFLICT,
    IndexState.BUILDING_OURS,
    IndexState.BUILDING_FOREIGN,
    IndexState.DROPPING_OURS,
}
# The last status that a killed run leaves in the journal.
_UNFINISHED = {"in_progress"}


def exit_code(status: Status) -> int:
    """Return 0 all in place, 1 absent or not compared, 3 INVALID or degraded, 4 conflict or being built."""
    states = {index.observed.state for index in status.indexes}
    if states & _LEFT:
        return LEFT_BEHIND
    if states & _HALTING:
        return HALTED
    return DONE if all(index.is_settled for index in status.indexes) else FAILED


def content_of(status: Status) -> Content:
    """Return the state of every declared index as sections of text."""
    settled = sum(index.is_settled for index in status.indexes)
    server = "a standby" if status.in_recovery else "a primary"
    sections = (Section("Indexes", tuple(_item(index, status) for index in status.indexes)),)
    return Content(
        f"status {status.migration}",
        (f"{status.address}, PostgreSQL {status.server_version}, {server}", moment(status.at)),
        tuple(_summary(status, settled)),
        tuple(section for section in sections if section.items),
    )


def _summary(status: Status, settled: int) -> Iterator[str]:
    count = len(status.indexes)
    yield f"{settled} of {counted(count, 'declared index')} {'is' if count == 1 else 'are'} in place."
    if status.no_journal is not None:
        yield f"The journal was not read: {status.no_journal}."
    elif status.log is not None:
        log = status.log
        yield f"Journal: {_logged(log)}, run {log.run}, {moment(log.at)}."


def _item(index: IndexStatus, status: Status) -> Item:
    observed = index.observed
    details = [f"on {observed.declared.table.quoted}", *_work(index, status.at), *_holding(index)]
    if index.progress is None or observed.state is IndexState.CONFLICT:
        details += _detail(index)
    details += definitions(observed)
    if index.not_compared is not None:
        details.append(
            f"compared with the definition in the journal: {index.not_compared}"
            if index.compared_with == "journal"
            else f"not compared with the declaration: {index.not_compared}"
        )
    if index.usage is not None:
        details.append(_usage(index.usage))
    if status.no_journal is None:
        details.append(_journal(index))
    share = None if index.progress is None else index.progress.share
    # 100 % is for work that has ended.
    aside = "" if share is None else f"{min(share, 0.99):.0%}"
    return Item(
        state_word(observed.state),
        observed.declared.relation.quoted,
        aside,
        tuple(details),
        hint=_hint(index),
    )


def _usage(usage: IndexUsage) -> str:
    """Return the scans and the size in words."""
    if usage.idx_scan is None:
        scans = "scans unknown"
    else:
        since = "an unknown time" if usage.since is None else moment(usage.since)
        # Without the journal the index can be younger than the counters.
        created = " or its creation" if usage.created_at is None else ""
        scans = f"{counted(usage.idx_scan, 'scan')} since {since}{created}"
    last = "" if usage.last_idx_scan is None else f", the last at {moment(usage.last_idx_scan)}"
    size = "size unknown" if usage.size_bytes is None else f"size {byte_size(usage.size_bytes)}"
    return f"{scans}{last}; {size}"


def _detail(index: IndexStatus) -> Iterator[str]:
    if not index.compared_with and index.observed.state is IndexState.PRESENT:
        yield "an index of that name exists"
    elif not is_plainly_present(index.observed):
        yield index.observed.detail


def _work(index: IndexStatus, at: datetime) -> Iterator[str]:
    """Yield the work in progress: phase, session, start, and the sessions it waits for."""
    progress = index.progress
    if progress is None:
        return
    phase = progress.phase or ("dropping" if index.observed.state is IndexState.DROPPING_OURS else "building")
    who = [phase, f"pid {progress.pid}"]
    if progress.usename is not None:
        who.append(f"user {progress.usename}")
    if index.run is not None:
        who.append(f"run {index.run}")
    elif progress.application_name:
        who.append(progress.application_name)
    if index.since is not None:
        lasted = max(0.0, (at - index.since).total_seconds())
        who.append(f"since {moment(index.since)} ({duration(lasted)})")
    yield ", ".join(who)
    for blocker in progress.blockers:
        if blocker.is_own_build:
            name = shown_on_one_line((blocker.application_name or "").split("/", 2)[-1])
            yield f"waits for this tool's build of {name} ({blocker.name}), which ends without action"
        else:
            yield f"waits for {blocker.described}"
    # This tool's own builds wait without blocking others.
    behind = sum(not waiter.is_ours for waiter in progress.waiters)
    if behind:
        readers = "; readers are blocked too" if progress.stops_readers else ""
        yield f"{counted(behind, 'session')} {'waits' if behind == 1 else 'wait'} behind it{readers}"


def _journal(index: IndexStatus) -> str:
    log = index.log
    if log is None:
        return "journal: no entry"
    attempt = f"attempt {log.attempt}, " if log.attempt > 1 else ""
    return f"journal: {_logged(log)}, {attempt}run {log.run}, {moment(log.at)}"


def _logged(log: LogRow) -> str:
    """Return phase and status as in the journal, only one of them if they are equal."""
    return log.phase if log.phase == log.status else f"{log.phase} {log.status}"


def _holding(index: IndexStatus) -> Iterator[str]:
    """Yield the run of this tool that holds the table of an idle index."""
    holder = index.holder
    if holder is None or index.is_settled:
        return
    run = run_of(holder.application_name)
    who = "this tool" if run is None else f"run {run}"
    yield f"{who} is working on its table (pid {holder.pid})"


def _is_alive(index: IndexStatus) -> bool:
    """Return True if the last run in the journal holds the table, or an unknown run of this tool does."""
    if index.holder is None or index.log is None:
        return False
    return run_of(index.holder.application_name) in (None, index.log.run)


def _hint(index: IndexStatus) -> str | None:
    state, log = index.observed.state, index.log
    if state is IndexState.ABSENT:
        if _is_alive(index):
            return None
        if log is not None and log.status in _UNFINISHED:
            return f"run {log.run} was killed before it finished; run init again"
        return None if log is not None and log.phase == "dropped" else "run init to build it"
    hints = {
        **init_hints(index.observed),
        IndexState.INVALID_OURS: "run init: it drops the index and builds it again",
        IndexState.DEGRADED: "run rollback again to finish the drop, or init to build the index again",
    }
    if not index.observed.definition and state is IndexState.CONFLICT:
        return "correct the manifest or the table"
    return hints.get(state)


# JSON


def document(status: Status) -> str:
    """Return the status as JSON, described in docs/status.md, ending in a newline; ASCII only."""
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "command": "status",
        "migration": status.migration,
        "datname": status.datname,
        "address": status.address,
        "server_version": status.server_version,
        "in_recovery": status.in_recovery,
        "at": status.at.isoformat(),
        "exit_code": exit_code(status),
        "no_journal": status.no_journal,
        "journal": _log(status.log),
        "indexes": [_index(index) for index in status.indexes],
    }
    return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _index(index: IndexStatus) -> dict[str, Any]:
    observed, progress = index.observed, index.progress
    return {
        "schemaname": observed.declared.table.schemaname,
        "relname": observed.declared.table.relname,
        "indexname": observed.declared.name,
        "state": observed.state.value,
        "detail": observed.detail,
        "definition": (observed.definition or None) if index.compared_with else None,
        "found_definition": observed.found_definition,
        "covered_by": observed.covered_by,
        "compared_with": index.compared_with,
        "not_compared": index.not_compared,
        "hint": _hint(index),
        "journal": _log(index.log),
        "usage": None if index.usage is None else _usage_object(index.usage),
        "table_held_by": None
        if index.holder is None
        else {"pid": index.holder.pid, "run": run_of(index.holder.application_name)},
        "work": None
        if progress is None
        else {
            "pid": progress.pid,
            "usename": progress.usename,
            "application_name": progress.application_name,
            "run": index.run,
            "since": None if index.since is None else index.since.isoformat(),
            "phase": progress.phase,
            "share": progress.share,
            "blockers": [blocker.as_detail() for blocker in progress.blockers],
            "waiters": progress.waiter_count,
        },
    }


def _usage_object(usage: IndexUsage) -> dict[str, Any]:
    return {
        "idx_scan": usage.idx_scan,
        "last_idx_scan": _iso(usage.last_idx_scan),
        "since": _iso(usage.since),
        "created_at": _iso(usage.created_at),
        "counters_since": _iso(usage.counters_since),
        "size_bytes": usage.size_bytes,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _log(log: LogRow | None) -> dict[str, Any] | None:
    if log is None:
        return None
    return {
        "phase": log.phase,
        "status": log.status,
        "attempt": log.attempt,
        "run": log.run,
        "operator": log.operator,
        "at": log.at.isoformat(),
    }
