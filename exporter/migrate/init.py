"""The init command: reconcile, preflight, plan, build, analyze, verify, as one Outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from exporter.errors import ExporterError, SettingsError
from exporter.evidence.baseline import from_detail, to_detail, with_fresh
from exporter.evidence.measure.plans import measure_probes
from exporter.migrate.assessment import Assessment, read_assessment, read_continuation
from exporter.migrate.events import Event
from exporter.migrate.execute.executor import Executor
from exporter.migrate.execute.stepwise import AskStep, run_stepwise
from exporter.migrate.journaling import (
    lacks_end,
    record_definitions,
    record_end,
    record_plan,
    record_stop,
)
from exporter.migrate.options import RunOptions
from exporter.migrate.run import Run, now, open_run
from exporter.migrate.verification import verify_run
from exporter.model import (
    Database,
    DeclaredIndex,
    IndexState,
    Manifest,
    Outcome,
    Plan,
    ProbeMeasurement,
    StepKind,
    StepResult,
    StepStatus,
)
from exporter.postgres.journal import EventStatus, Phase
from exporter.postgres.server.statistics import read_wal_position, wal_bytes_since

# A partition that is added during a round takes another round; if they come faster, init is rerun.
MAX_PARTITION_ROUNDS = 5


def ignore_event(event: Event) -> None:
    """Show nothing."""


def ignore_stage(text: str) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What a run reports while it works: an event for each change of a step, a text for each stage.

    With `ask_step` it executes one step at a time and asks before each.
    """

    on_event: Callable[[Event], None] = ignore_event
    on_stage: Callable[[str], None] = ignore_stage
    ask_step: AskStep | None = None


@dataclass(frozen=True, slots=True)
class _Built:
    """What the steps came to. Units: bytes."""

    plan: Plan
    before: tuple[ProbeMeasurement, ...]
    results: tuple[StepResult, ...] = ()
    wal_bytes: int | None = None

    @property
    def is_done(self) -> bool:
        """True when every step is done."""
        return all(result.status is StepStatus.DONE for result in self.results)


def initialise(
    database: Database,
    manifest: Manifest,
    options: RunOptions,
    *,
    confirm: Callable[[Assessment], bool] = lambda assessment: True,
    on_event: Callable[[Event], None] = ignore_event,
    on_stage: Callable[[str], None] = ignore_stage,
    ask_step: AskStep | None = None,
) -> Outcome:
    """What became of every declared index: built, analyzed and verified, or why not.

    `on_stage` is called with what is done before and after the steps, which can take a while; `ask_step`
    before each step, which then runs alone.
    """
    listener = Listener(on_event, on_stage, ask_step)
    with open_run("init", database, manifest, options) as run:
        assessment = read_assessment(run)
        plan = assessment.plan
        if assessment.is_refused:
            return replace(run.outcome(plan), preflight=assessment.preflight)
        if options.dry_run or (plan.steps and not confirm(assessment)):
            return replace(
                run.outcome(plan),
                preflight=assessment.preflight,
                estimates=assessment.estimates,
                dry_run=True,
            )
        if not plan.steps:
            record_definitions(run.journal, assessment)
            return _ended(run, assessment, _Built(plan, from_detail(run.journal.baseline())), listener)
        run.journal.ensure()
        record_plan(run.journal, assessment)
        before = _baseline(run, assessment, listener)
        with _after_build():
            return _ended(run, assessment, _build(run, assessment, before, listener), listener)


@contextmanager
def _after_build() -> Iterator[None]:
    """Settings and manifest were accepted before the build: their errors are findings of the run now."""
    try:
        yield
    except SettingsError as error:
        raise ExporterError(str(error)) from error


def _build(
    run: Run, assessment: Assessment, before: tuple[ProbeMeasurement, ...], listener: Listener
) -> _Built:
    """The steps carried out, continued for partitions that are added meanwhile."""
    # After the probes, which write too: hint bits, and with checksums whole pages.
    wal_position = read_wal_position(run.connection)
    built = _Built(assessment.plan, before, _execute(run, assessment, listener))
    for _ in range(MAX_PARTITION_ROUNDS):
        if not built.is_done or not any(step.parent is not None for step in built.plan.steps):
            break
        run.journal.live_connection()
        continuation = read_continuation(run)
        steps = continuation.plan.steps
        # Before PostgreSQL 15 the time of an ANALYZE shows late: it alone is not worth a round.
        if all(step.kind is StepKind.ANALYZE for step in steps):
            break
        built = replace(
            built,
            plan=replace(built.plan, steps=built.plan.steps + steps),
            results=built.results + _execute(run, continuation, listener),
        )
    return replace(built, wal_bytes=wal_bytes_since(run.journal.live_connection(), wal_position))


def _execute(run: Run, assessment: Assessment, listener: Listener) -> tuple[StepResult, ...]:
    """The result of every step of the plan."""
    executor = Executor(run.database, run.journal, run.options.build, listener.on_event)
    if listener.ask_step is None:
        return executor.run(assessment.plan, assessment.budget)
    return run_stepwise(executor, assessment.plan, assessment.budget, listener.ask_step)


def _ended(run: Run, assessment: Assessment, built: _Built, listener: Listener) -> Outcome:
    """The outcome, verified when every step is done, and recorded in the journal."""
    if built.is_done:
        _show_probes(run, run.manifest.indexes, listener, "now")
        outcome = verify_run(run, built.before)
    else:
        record_stop(run.journal, Phase.BUILDING, built.results)
        outcome = replace(run.outcome(built.plan), before=built.before)
    outcome = replace(
        outcome,
        plan=built.plan,
        results=built.results,
        preflight=assessment.preflight,
        estimates=assessment.estimates,
        wal_bytes=built.wal_bytes,
        finished_at=now(),
    )
    # Also for an earlier run that died after its last step.
    if built.is_done and (built.plan.steps or lacks_end(assessment)):
        record_end(run.journal, outcome, is_partial=run.manifest.is_partial)
    return outcome


def _baseline(run: Run, assessment: Assessment, listener: Listener) -> tuple[ProbeMeasurement, ...]:
    """The measurements of the probes before their index was built; later runs compare with the same.

    Of a build that was started before, the earlier measurements stay; one that was rolled back is measured
    again.
    """
    kept = from_detail(run.journal.baseline())
    measured = {(one.index_name, one.probe) for one in kept}
    created = run.journal.created()
    unmeasured = tuple(
        observed.declared
        for observed in assessment.observed
        if observed.state not in (IndexState.PRESENT, IndexState.COVERED)
        and observed not in assessment.plan.refused
        and not (
            observed.declared.name in created
            and measured.issuperset(
                (observed.declared.name, probe.name) for probe in observed.declared.probes
            )
        )
    )
    if not any(index.probes for index in unmeasured):
        return kept
    _show_probes(run, unmeasured, listener, "before the build")
    fresh = measure_probes(
        run.connection,
        replace(run.manifest, indexes=unmeasured),
        budget_seconds_per_probe=run.options.probe_budget_seconds,
    )
    before = with_fresh(kept, fresh)
    run.journal.append(Phase.BASELINE, EventStatus.DONE, detail=to_detail(before))
    return before


def _show_probes(run: Run, indexes: tuple[DeclaredIndex, ...], listener: Listener, when: str) -> None:
    count = sum(len(index.probes) for index in indexes)
    if count:
        probes = "1 probe" if count == 1 else f"{count} probes"
        listener.on_stage(
            f"measuring {probes} {when}, each for at most {run.options.probe_budget_seconds:g} s"
        )
