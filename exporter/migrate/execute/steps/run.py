"""The execution of one step: its attempts, its result, and the leftovers that are dropped afterwards.

The catalogue decides how a step ended, never the client's error. What has to be done was planned before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg

from exporter.errors import ExporterError
from exporter.migrate.execute.attempt import STOPPED, AttemptResult, failed
from exporter.migrate.execute.sqlstates import Reaction, Stage, classify
from exporter.migrate.execute.step_run import StepRun
from exporter.migrate.execute.steps.analyze import analyze
from exporter.migrate.execute.steps.build import build
from exporter.migrate.execute.steps.drop import drop
from exporter.migrate.execute.steps.leftovers import drop_leftover, result_with_leftovers, still_left
from exporter.migrate.execute.steps.partition import run_partition_step
from exporter.model import StepKind, StepResult, StepStatus
from exporter.postgres.journal import Leftover


def run_step(run: StepRun) -> StepResult:
    """Return how the step ended. An error of the server becomes a part of the result."""
    started = time.monotonic()
    try:
        attempt = _run(run)
    except (psycopg.Error, ExporterError) as error:
        attempt = failed(error, Stage.PREPARING)
    finally:
        run.end()
    attempt = result_with_leftovers(attempt, run.leftovers())
    return StepResult(
        run.step,
        attempt.status,
        time.monotonic() - started,
        attempts=attempt.attempts,
        sqlstate=attempt.sqlstate,
        message=attempt.message,
        hint=attempt.hint,
    )


def is_shared_failure(result: StepResult) -> bool:
    """Return True if other steps would meet the same failure."""
    if result.status is not StepStatus.HALTED or result.sqlstate is None:
        return False
    return classify(result.sqlstate, Stage.PREPARING).reaction is Reaction.HALT


def drop_leftovers_again(run: StepRun, result: StepResult, *, may_retry: bool) -> StepResult:
    """Return the result after the other steps of its table: the step's leftovers are dropped now, or stay.

    With `may_retry` the sessions that held the table have ended: a build on it has waited for them.
    """
    if run.step.kind is StepKind.DROP_LEFTOVER:
        if result.status is not StepStatus.LEFT_BEHIND or not may_retry:
            return result
        second = run_step(run)
        return second if second.status is StepStatus.DONE else result
    leftovers = run.leftovers()
    if may_retry:
        for leftover in leftovers:
            _drop_again(run, leftover)
    remaining = run.leftovers()
    if remaining:
        left = still_left(remaining)
        message = result.message if result.status is StepStatus.LEFT_BEHIND else left.message
        return replace(result, status=StepStatus.LEFT_BEHIND, message=message, hint=left.hint)
    if not leftovers or result.status is not StepStatus.LEFT_BEHIND:
        return result
    return replace(result, status=StepStatus.FAILED, message=f"{result.message}; it was dropped since")


def _run(run: StepRun) -> AttemptResult:
    match run.step.kind:
        case StepKind.ANALYZE:
            return _run_attempts(run, lambda attempt: analyze(run, attempt))
        case StepKind.BUILD | StepKind.ADOPT:
            budget_seconds = run.context.options.watch.table_budget_seconds or math.inf
            return _run_attempts(
                run, lambda attempt: build(run, attempt), table_budget_seconds=budget_seconds
            )
        case StepKind.DROP_LEFTOVER:
            return drop_leftover(run, run.index)
        case StepKind.DROP_INVALID | StepKind.DROP:
            return run_partition_step(run, 1) or drop(run)
        case StepKind.CREATE_PARENT | StepKind.ATTACH | StepKind.DROP_PARENT:
            return _run_attempts(run, lambda attempt: _run_partition_attempt(run, attempt))


def _run_attempts(
    run: StepRun, run_attempt: Callable[[int], AttemptResult], *, table_budget_seconds: float = 0
) -> AttemptResult:
    """Return the result of the last attempt; another one follows while the result allows it.

    An attempt that could not read its table because of a lock does not count within the table budget.
    """
    context = run.context
    result, attempt = STOPPED, 1
    started, is_noted = time.monotonic(), False
    while not context.stopping.is_set():
        try:
            result = run_attempt(attempt)
        except psycopg.Error as error:
            # It gave way to a session that locks the table, before anything was started.
            is_locked = isinstance(error, psycopg.errors.LockNotAvailable)
            if is_locked and time.monotonic() - started < table_budget_seconds:
                if not is_noted:
                    run.note("a session locks the table, or waits to lock it: trying until it is free")
                is_noted = True
                context.wait_for_next_attempt(1)
                continue
            # What was started is reconciled by the next attempt, or by the next run.
            result = failed(error, Stage.PREPARING, attempt, max_attempts=context.options.max_attempts)
        if not result.may_retry:
            break
        run.note(f"attempt {attempt} failed: {result.message}; trying again")
        context.wait_for_next_attempt(attempt)
        attempt += 1
    return result


def _run_partition_attempt(run: StepRun, attempt: int) -> AttemptResult:
    result = run_partition_step(run, attempt)
    if result is None:
        raise ValueError(f"a step of kind {run.step.kind} without its index")
    return result


def _drop_again(run: StepRun, leftover: Leftover) -> None:
    try:
        result = drop_leftover(run, replace(run.index, name=leftover.indexname))
    except (psycopg.Error, ExporterError) as error:
        result = failed(error, Stage.CLEANING)
    finally:
        run.end()
    if result.status is StepStatus.DONE:
        run.remove_leftover(leftover)
