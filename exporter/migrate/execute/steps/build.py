"""One step of a plan against one database: run it, look at the catalogue, clean up, try again or say why not.

The catalogue decides how a step ended, never the client's error. Deciding what to do is the plan's; this
room only carries it out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.execute.adoption import follow, lock_table, try_lock_table
from exporter.migrate.execute.attempt import (
    ANOTHER_RUN,
    CANCELLED,
    STOPPED,
    AttemptResult,
    detached,
    ended_by,
    halted,
    left_behind,
    stage_of,
)
from exporter.migrate.execute.sqlstates import Reaction, Stage, classify
from exporter.migrate.execute.step_run import Site
from exporter.migrate.execute.steps.drop import AT_WORK, STANDING, drop, drop_invalid, observe_at_rest
from exporter.migrate.execute.steps.leftovers import drop_leftover, still_there, with_leftovers
from exporter.migrate.execute.steps.partition import needless, run_partition_step
from exporter.migrate.execute.watch.quiesce import wait_until_quiet
from exporter.model import DeclaredIndex, IndexState, ObservedIndex, Step, StepKind, StepResult, StepStatus
from exporter.postgres import ddl
from exporter.postgres.journal import EventStatus, Leftover, Phase

_DUPLICATE_NAME = "42P07"
# A build at its last wait falls to an ANALYZE that has queued for longer than deadlock_timeout.
_ANALYZE_LOCK_TIMEOUT_SECONDS = 5.0
_GIVEN_UP_HINT = "end what it waited for, or give it more time, then run init again"


def run_step(site: Site, step: Step) -> StepResult:
    """How the step ended. Never raises for what the server says; the result holds it."""
    started = time.monotonic()
    try:
        match step.kind:
            case StepKind.ANALYZE:
                ended = _tried(site, step, lambda attempt: _analyze(site, step, attempt))
            case StepKind.BUILD | StepKind.ADOPT:
                index = _index_of(step)
                budget_seconds = site.options.watch.table_budget_seconds or math.inf
                ended = _tried(
                    site,
                    step,
                    lambda attempt: _build(site, step, index, attempt),
                    table_budget_seconds=budget_seconds,
                )
            case StepKind.DROP_LEFTOVER:
                budget_seconds = site.options.cleanup_budget_seconds
                ended = drop_leftover(site, step, _index_of(step), budget_seconds=budget_seconds)
            case StepKind.DROP_INVALID | StepKind.DROP:
                ended = run_partition_step(site, step, 1) or drop(site, step, _index_of(step))
            case StepKind.CREATE_PARENT | StepKind.ATTACH | StepKind.DROP_PARENT:
                ended = _tried(site, step, lambda attempt: _of_partition(site, step, attempt))
    except (psycopg.Error, ExporterError) as error:
        ended = ended_by(error, Stage.LOOKING)
    finally:
        site.leave(step)
    ended = with_leftovers(ended, site.leftovers(step))
    return StepResult(
        step,
        ended.status,
        time.monotonic() - started,
        attempts=ended.attempts,
        sqlstate=ended.sqlstate,
        message=ended.message,
        hint=ended.hint,
    )


def _tried(
    site: Site, step: Step, attempt_once: Callable[[int], AttemptResult], *, table_budget_seconds: float = 0
) -> AttemptResult:
    """How the last attempt ended; the next follows where the one before may be tried again.

    Within the budget for the table a look at it that finds it locked counts as none.
    """
    ended, attempt = STOPPED, 1
    began, is_told = time.monotonic(), False
    while not site.stopping.is_set():
        try:
            ended = attempt_once(attempt)
        except psycopg.Error as error:
            # It gave way to who wants the table for himself, before anything was begun.
            gave_way = isinstance(error, psycopg.errors.LockNotAvailable)
            if gave_way and time.monotonic() - began < table_budget_seconds:
                if not is_told:
                    site.on_note(
                        step, "somebody locks the table, or waits to lock it: looking until it is free"
                    )
                is_told = True
                site.pause(1)
                continue
            # Whatever was begun is seen to by the next look, the next attempt's or the next run's.
            ended = ended_by(error, Stage.LOOKING, attempt, max_attempts=site.options.max_attempts)
        if not ended.may_retry:
            break
        site.on_note(step, f"attempt {attempt} failed: {ended.message}; trying again")
        site.pause(attempt)
        attempt += 1
    return ended


# Building


def _of_partition(site: Site, step: Step, attempt: int) -> AttemptResult:
    ended = run_partition_step(site, step, attempt)
    if ended is None:
        raise ValueError(f"a step of kind {step.kind} without its index")
    return ended


def _build(site: Site, step: Step, index: DeclaredIndex, attempt: int) -> AttemptResult:
    with closing(site.session(step)) as connection:
        no_partition = needless(connection, step)
        if no_partition is not None:
            return replace(no_partition, attempts=attempt)
        # Nearly always it is free, and what stands there is looked at once.
        is_locked = try_lock_table(connection, step)
        observed = site.observe(connection, index)
        if observed.state in AT_WORK:
            follow(site, step, connection, observed)
            observed = site.observe(connection, index)
            if observed.state in AT_WORK:
                return detached(observed, attempt)
        if observed.state not in STANDING:
            if not is_locked:
                if not lock_table(site, step, connection):
                    return STOPPED if site.stopping.is_set() else replace(ANOTHER_RUN, attempts=attempt)
                # What stood before the lock was ours may have changed while we waited for it.
                observed = site.observe(connection, index)
            site.record(Phase.LOCKED, EventStatus.DONE, observed, attempt)
            if site.has_ended(step):
                return _settle(site, step, observed, attempt, None)
        if observed.state in STANDING:
            return replace(_stands(site, observed, attempt), message=observed.detail)
        if observed.state in (IndexState.INVALID_OURS, IndexState.DEGRADED):
            leftover = drop_invalid(site, step, index)
            if leftover is not None:
                return replace(leftover, attempts=attempt)
        elif observed.state is not IndexState.ABSENT:
            return halted(observed, attempt)
        if not wait_until_quiet(site, step, connection, observed, attempt):
            return STOPPED
        # The intent comes before the statement: whatever happens next, the index is known as ours.
        site.record(Phase.BUILDING, EventStatus.IN_PROGRESS, observed, attempt)
        error: psycopg.Error | None = None
        try:
            ddl.run_single(connection, ddl.create_index(index))
        except psycopg.Error as raised:
            error = raised
        else:
            built = site.observe(connection, index)
            if built.state is IndexState.PRESENT:
                return _stands(site, built, attempt)
        return _settle(site, step, observed, attempt, error)


def _stands(site: Site, observed: ObservedIndex, attempt: int) -> AttemptResult:
    # What somebody else built meanwhile is not this migration's to drop.
    if observed.state is IndexState.PRESENT and observed.declared.name in site.journal.created():
        site.record(Phase.CATALOG_OK, EventStatus.DONE, observed, attempt)
    return AttemptResult(StepStatus.DONE, attempt)


def _settle(
    site: Site, step: Step, before: ObservedIndex, attempt: int, error: psycopg.Error | None
) -> AttemptResult:
    """After a build, whatever the client heard: what stands in the catalogue, and cleaning it up."""
    if error is not None and error.sqlstate == _DUPLICATE_NAME:
        # We built nothing: what bears the name now is somebody else's.
        site.record(Phase.BUILDING, EventStatus.FAILED, before, attempt, "the name was taken meanwhile")
    observed = observe_at_rest(site, step, before.declared)
    if observed.state is IndexState.PRESENT:
        return _stands(site, observed, attempt)
    if observed.state in AT_WORK:
        return detached(observed, attempt)
    ended = ended_by(error, stage_of(observed), attempt, max_attempts=site.options.max_attempts)
    given_up = site.take_given_up(step)
    if site.has_ended(step):
        ended = replace(CANCELLED, attempts=attempt)
        site.forget_ended(step)
    if given_up is not None:
        ended = replace(
            ended,
            message=f"given up: {given_up.reason}",
            hint=_GIVEN_UP_HINT,
            most_attempts=site.options.max_attempts if given_up.try_again else 0,
        )
    if observed.state is IndexState.BUILDING_FOREIGN:
        site.record_if_possible(Phase.CLEANUP, EventStatus.LEFT_BEHIND, observed, attempt, observed.detail)
        return left_behind(observed.declared, f"cannot be dropped now, {observed.detail}", ended.sqlstate)
    if observed.state is IndexState.INVALID_OURS:
        leftover = drop_invalid(site, step, observed.declared)
        if leftover is not None:
            return replace(leftover, attempts=attempt)
    site.record_if_possible(Phase.BUILDING, EventStatus.FAILED, observed, attempt, ended.message)
    return ended


# Analyzing


def _analyze(site: Site, step: Step, attempt: int) -> AttemptResult:
    warnings: list[str] = []
    limit_seconds = _ANALYZE_LOCK_TIMEOUT_SECONDS
    with closing(site.session(step, lock_timeout_seconds=limit_seconds)) as connection:
        if not lock_table(site, step, connection):
            return STOPPED if site.stopping.is_set() else ANOTHER_RUN
        connection.add_notice_handler(
            lambda notice: (
                warnings.append(notice.message_primary or "")
                if notice.severity_nonlocalized == "WARNING"
                else None
            )
        )
        try:
            connection.execute(ddl.analyze(step.table))
        except psycopg.Error as error:
            return ended_by(error, Stage.ANALYZING, attempt, max_attempts=site.options.max_attempts)
    if warnings:
        # A table that may not be analyzed is skipped with a warning and success.
        return AttemptResult(
            StepStatus.FAILED, attempt, message=warnings[0], hint="run as the owner of the table"
        )
    return AttemptResult(StepStatus.DONE, attempt)


def sweep(site: Site, result: StepResult, *, try_again: bool) -> StepResult:
    """The result once its table's other steps have ended: what was set aside is dropped now, or stays.

    With `try_again` whoever held the table is gone: a build on it has waited for them.
    """
    step = result.step
    if step.kind is StepKind.DROP_LEFTOVER:
        if result.status is not StepStatus.LEFT_BEHIND or not try_again:
            return result
        again = run_step(site, step)
        return again if again.status is StepStatus.DONE else result
    left = site.leftovers(step)
    if try_again:
        for leftover in left:
            _drop_set_aside(site, step, leftover)
    remaining = site.leftovers(step)
    if remaining:
        ended = still_there(remaining)
        message = result.message if result.status is StepStatus.LEFT_BEHIND else ended.message
        return replace(result, status=StepStatus.LEFT_BEHIND, message=message, hint=ended.hint)
    if not left or result.status is not StepStatus.LEFT_BEHIND:
        return result
    return replace(result, status=StepStatus.FAILED, message=f"{result.message}; it is dropped since")


def _drop_set_aside(site: Site, step: Step, leftover: Leftover) -> None:
    index = replace(_index_of(step), name=leftover.indexname)
    try:
        ended = drop_leftover(site, step, index, budget_seconds=site.options.cleanup_budget_seconds)
    except (psycopg.Error, ExporterError) as error:
        ended = ended_by(error, Stage.CLEANING)
    finally:
        site.leave(step)
    if ended.status is StepStatus.DONE:
        site.forget_leftover(step, leftover)


def is_shared_failure(result: StepResult) -> bool:
    """True when other steps would meet the same, so that starting them would only repeat it."""
    if result.status is not StepStatus.HALTED or result.sqlstate is None:
        return False
    return classify(result.sqlstate, Stage.LOOKING).reaction is Reaction.HALT


def _index_of(step: Step) -> DeclaredIndex:
    if step.index is None:
        raise ValueError(f"a step of kind {step.kind} names no index")
    return step.index
