"""One step of a plan against one database: run it, look at the catalogue, clean up, try again or say why not.

The catalogue decides how a step ended, never the client's error. Deciding what to do is the plan's; this
room only carries it out.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.site import Site
from exporter.model import DeclaredIndex, IndexState, ObservedIndex, Step, StepKind, StepResult, StepStatus
from exporter.postgres import ddl
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.target import Connection, SessionLimits, first_line

# The server's state changed under the statement; the same statement may succeed a moment later.
# 57014 is not among them: a deadline would pass again, and a cancel was somebody's decision.
_TRANSIENT = {"40P01", "40001", "55P03", "57P01", "57P02", "57P03"}
# The machine itself is short of something: other steps would meet the same.
_HALTING = {"53100", "53200", "53400", "58030"}
_DUPLICATE_NAME = "42P07"
# A build at its last wait falls to an ANALYZE that has queued for longer than deadlock_timeout.
_ANALYZE_LOCK_TIMEOUT_SECONDS = 5.0

_STANDING = {IndexState.PRESENT, IndexState.COVERED}
_DROPPABLE = {IndexState.PRESENT, IndexState.INVALID_OURS, IndexState.DEGRADED}
_GONE = {IndexState.ABSENT, IndexState.COVERED}
_INVALID = {IndexState.INVALID_OURS, IndexState.INVALID_FOREIGN, IndexState.DEGRADED}
# A session of this tool works on it in the server, for us or for a run that died.
_AT_WORK = {IndexState.BUILDING_OURS, IndexState.DROPPING_OURS}


@dataclass(frozen=True, slots=True)
class _Ended:
    status: StepStatus
    attempts: int = 1
    sqlstate: str | None = None
    message: str | None = None
    mend: str | None = None


_ANOTHER_RUN = _Ended(
    StepStatus.HALTED,
    message="another run of this tool works on the table",
    mend="wait for it to end, then run init again",
)
_STOPPED = _Ended(StepStatus.SKIPPED, message="stopped before it began")


def run_step(site: Site, step: Step) -> StepResult:
    """How the step ended. Never raises for what the server says; the result holds it."""
    started = time.monotonic()
    try:
        match step.kind:
            case StepKind.ANALYZE:
                ended = _analyze(site, step)
            case StepKind.BUILD | StepKind.ADOPT:
                ended = _build(site, step, _index_of(step))
            case StepKind.DROP_INVALID | StepKind.DROP:
                ended = _drop(site, step, _index_of(step))
    except (psycopg.Error, ExporterError) as error:
        ended = _ended(StepStatus.HALTED, error)
    finally:
        site.leave(step)
    return StepResult(
        step,
        ended.status,
        time.monotonic() - started,
        attempts=ended.attempts,
        sqlstate=ended.sqlstate,
        message=ended.message,
        mend=ended.mend,
    )


# Building


def _build(site: Site, step: Step, index: DeclaredIndex) -> _Ended:
    ended = _STOPPED
    for attempt in range(1, site.options.max_attempts + 1):
        if site.stopping.is_set():
            break
        with closing(site.session(step)) as connection:
            ended = _attempt(site, step, index, connection, attempt)
        if ended.status is not StepStatus.FAILED or not _is_transient(ended.sqlstate):
            break
        site.on_note(step, f"attempt {attempt} failed: {ended.message}; nothing was left")
        site.stopping.wait(min(30.0, 2.0**attempt))
    return ended


def _attempt(site: Site, step: Step, index: DeclaredIndex, connection: Connection, attempt: int) -> _Ended:
    observed = site.observe(connection, index)
    if observed.state in _AT_WORK:
        site.follow(step, connection, observed)
        observed = site.observe(connection, index)
        if observed.state in _AT_WORK:
            return _detached(observed)
    if observed.state not in _STANDING:
        if not site.lock_table(connection, index.table):
            return _STOPPED if site.stopping.is_set() else _ANOTHER_RUN
        site.record(Phase.LOCKED, EventStatus.DONE, observed, attempt)
        # What stood before the lock was ours may have changed while we waited for it.
        observed = site.observe(connection, index)
    if observed.state in _STANDING:
        return replace(_stands(site, observed, attempt), message=observed.detail)
    if observed.state in (IndexState.INVALID_OURS, IndexState.DEGRADED):
        leftover = _drop_invalid(site, index)
        if leftover is not None:
            return leftover
    elif observed.state is not IndexState.ABSENT:
        return _Ended(StepStatus.HALTED, attempt, message=observed.detail, mend="see `status`")
    # The intent comes before the statement: whatever happens next, the index is known as ours.
    site.record(Phase.BUILDING, EventStatus.IN_PROGRESS, observed, attempt)
    error: psycopg.Error | None = None
    try:
        ddl.run_single(connection, ddl.create_index(index))
    except psycopg.Error as raised:
        error = raised
    return _settle(site, step, observed, attempt, error)


def _stands(site: Site, observed: ObservedIndex, attempt: int) -> _Ended:
    # What somebody else built meanwhile is not this migration's to drop.
    if observed.state is IndexState.PRESENT and observed.declared.name in site.journal.created():
        site.record(Phase.CATALOG_OK, EventStatus.DONE, observed, attempt)
    return _Ended(StepStatus.DONE, attempt)


def _settle(
    site: Site, step: Step, before: ObservedIndex, attempt: int, error: psycopg.Error | None
) -> _Ended:
    """After a build, whatever the client heard: what stands in the catalogue, and cleaning it up."""
    if _sqlstate(error) == _DUPLICATE_NAME:
        # We built nothing: what bears the name now is somebody else's.
        site.record(Phase.BUILDING, EventStatus.FAILED, before, attempt, "the name was taken meanwhile")
    observed = _observe_at_rest(site, step, before.declared)
    if observed.state is IndexState.PRESENT:
        return _stands(site, observed, attempt)
    status = StepStatus.HALTED if _sqlstate(error) in _HALTING else StepStatus.FAILED
    ended = _ended(status, error, attempt)
    if observed.state is IndexState.BUILDING_OURS:
        return _detached(observed)
    if observed.state is IndexState.BUILDING_FOREIGN:
        site.record(Phase.CLEANUP, EventStatus.LEFT_BEHIND, observed, attempt, observed.detail)
        return _left_behind(observed.declared, f"cannot be dropped now, {observed.detail}")
    if observed.state is IndexState.INVALID_OURS:
        leftover = _drop_invalid(site, observed.declared)
        if leftover is not None:
            return leftover
    site.record(Phase.BUILDING, EventStatus.FAILED, observed, attempt, ended.message)
    return ended


def _observe_at_rest(site: Site, step: Step, index: DeclaredIndex) -> ObservedIndex:
    """Where the index stands once nobody works on its table, or we stop waiting for that."""
    with closing(site.connect_patiently("reconcile", SessionLimits())) as connection:
        observed = site.observe(connection, index)
        if observed.state in _AT_WORK:
            site.follow(step, connection, observed)
            observed = site.observe(connection, index)
        elif observed.state is IndexState.BUILDING_FOREIGN:
            site.wait_until_free(step, connection, observed)
            observed = site.observe(connection, index)
        return observed


# Dropping


def _drop(site: Site, step: Step, index: DeclaredIndex) -> _Ended:
    failure: psycopg.Error | None = None
    with closing(site.session(step)) as connection:
        observed = site.observe(connection, index)
        if observed.state is IndexState.DROPPING_OURS:
            # A dead run's session holds the table's lock until its drop ends.
            site.follow(step, connection, observed)
        if not site.lock_table(connection, index.table):
            return _STOPPED if site.stopping.is_set() else _ANOTHER_RUN
        if step.kind is StepKind.DROP_INVALID:
            return _drop_invalid(site, index) or _Ended(StepStatus.DONE)
        observed = site.observe(connection, index)
        if observed.state in _GONE:
            site.record(Phase.DROPPED, EventStatus.DONE, observed)
            return _Ended(StepStatus.DONE, message="already absent")
        if observed.state not in _DROPPABLE:
            return _Ended(StepStatus.HALTED, message=observed.detail, mend="see `status`")
        # A drop that stops half-way leaves a valid index INVALID: on record before it begins.
        site.record(Phase.DROPPING, EventStatus.IN_PROGRESS, observed)
        try:
            connection.execute(ddl.drop_index(index.relation))
        except psycopg.Error as error:
            failure = error
    observed = _observe_at_rest(site, step, index)
    if observed.state in _GONE:
        site.record(Phase.DROPPED, EventStatus.DONE, observed)
        return _Ended(StepStatus.DONE)
    if observed.state is IndexState.PRESENT:
        site.record(Phase.DROPPING, EventStatus.FAILED, observed)
        return _ended(StepStatus.FAILED, failure)
    if observed.state in _AT_WORK:
        return _detached(observed)
    site.record(
        Phase.DROPPING,
        EventStatus.DEGRADED,
        observed,
        message=None if failure is None else first_line(failure),
    )
    return _Ended(
        StepStatus.DEGRADED,
        sqlstate=_sqlstate(failure),
        message=f"the drop stopped half-way, {index.relation.quoted} is INVALID now: no query may use it"
        + ("" if failure is None else f"; {first_line(failure)}"),
        mend="end what blocks it, then run rollback again: it finishes the drop; or init: it builds it anew",
    )


def _drop_invalid(site: Site, index: DeclaredIndex) -> _Ended | None:
    """None when no INVALID index bears the name any more, else what remains and how to remove it."""
    limits = SessionLimits(
        statement_timeout_seconds=site.options.cleanup_budget_seconds, lock_timeout_seconds=0
    )
    message = "is still there"
    with closing(site.connect_patiently("cleanup", limits)) as connection:
        observed = site.observe(connection, index)
        if observed.state in _STANDING or observed.state in _GONE:
            return None
        if observed.state not in _INVALID:
            return _Ended(StepStatus.HALTED, message=observed.detail, mend="see `status`")
        site.record(Phase.CLEANUP, EventStatus.IN_PROGRESS, observed)
        try:
            connection.execute(ddl.drop_index(index.relation))
        except psycopg.Error as error:
            message = f"could not be dropped: {first_line(error)}"
        observed = site.observe(connection, index)
    if observed.state in _GONE:
        site.record(Phase.CLEANUP, EventStatus.DONE, observed)
        return None
    site.record(Phase.CLEANUP, EventStatus.LEFT_BEHIND, observed, message=message)
    return _left_behind(index, message)


# Analyzing


def _analyze(site: Site, step: Step) -> _Ended:
    warnings: list[str] = []
    lock_timeout_seconds = _ANALYZE_LOCK_TIMEOUT_SECONDS
    with closing(site.session(step, lock_timeout_seconds=lock_timeout_seconds)) as connection:
        if not site.lock_table(connection, step.table):
            return _STOPPED if site.stopping.is_set() else _ANOTHER_RUN
        connection.add_notice_handler(
            lambda notice: (
                warnings.append(notice.message_primary or "")
                if notice.severity_nonlocalized == "WARNING"
                else None
            )
        )
        error: psycopg.Error | None = None
        for attempt in range(1, site.options.max_attempts + 1):
            try:
                connection.execute(ddl.analyze(step.table))
            except psycopg.errors.LockNotAvailable as raised:
                error = raised
                site.on_note(step, f"attempt {attempt} failed: {first_line(error)}")
            except psycopg.Error as raised:
                return _ended(StepStatus.FAILED, raised, attempt)
            else:
                break
        else:
            return _ended(StepStatus.FAILED, error, site.options.max_attempts)
    if warnings:
        # A table that may not be analyzed is skipped with a warning and success.
        return _Ended(StepStatus.FAILED, message=warnings[0], mend="run as the owner of the table")
    return _Ended(StepStatus.DONE)


# How it ended


def _ended(status: StepStatus, error: Exception | None, attempts: int = 1) -> _Ended:
    if isinstance(error, psycopg.Error):
        return _Ended(status, attempts, error.sqlstate, first_line(error))
    if isinstance(error, ExporterError):
        return _Ended(status, attempts, None, error.what, error.mend)
    return _Ended(status, attempts, None, "the statement ended, but the index is not there")


def _detached(observed: ObservedIndex) -> _Ended:
    is_drop = observed.state is IndexState.DROPPING_OURS
    return _Ended(
        StepStatus.DETACHED,
        message=f"the server goes on with it (pid {observed.builder_pid})",
        mend=f"run the same command again: it follows the {'drop' if is_drop else 'build'} to its end",
    )


def _left_behind(index: DeclaredIndex, message: str) -> _Ended:
    return _Ended(
        StepStatus.LEFT_BEHIND,
        message=f"the INVALID index {index.relation.quoted} {message}",
        mend="end what blocks it, then run init again, or: " + ddl.as_text(ddl.drop_index(index.relation)),
    )


def _index_of(step: Step) -> DeclaredIndex:
    if step.index is None:
        raise ValueError(f"a step of kind {step.kind} names no index")
    return step.index


def _sqlstate(error: psycopg.Error | None) -> str | None:
    return error.sqlstate if error is not None else None


def _is_transient(sqlstate: str | None) -> bool:
    # Without a SQLSTATE the connection was lost before the server could answer.
    return sqlstate is None or sqlstate in _TRANSIENT or sqlstate.startswith("08")
