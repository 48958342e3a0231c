"""The exit code of a run."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.model import Finding, Outcome, StepStatus, Verdict

DONE = 0
FAILED = 1
LEFT_BEHIND = 3
HALTED = 4


def exit_code(outcome: Outcome, *, strict: bool = False) -> int:
    """Return 0 done, 1 failed and clean, 3 something left behind, 4 needs a decision or still runs.

    3 outranks the rest: a leftover costs writes until it is dropped, and a degraded index serves no query.
    `strict` counts unknown findings as failed. A failed preflight check is a failure, a warning is not.
    """
    statuses = {result.status for result in outcome.results}
    if statuses & {StepStatus.LEFT_BEHIND, StepStatus.DEGRADED}:
        return LEFT_BEHIND
    if statuses & {StepStatus.HALTED, StepStatus.DETACHED} or outcome.plan.refused:
        return HALTED
    verdicts = {finding.verdict for finding in outcome.findings}
    failing = {Verdict.FAIL, Verdict.UNKNOWN} if strict else {Verdict.FAIL}
    if statuses & {StepStatus.FAILED, StepStatus.SKIPPED} or verdicts & failing:
        return FAILED
    return FAILED if is_refused(outcome) else DONE


def is_refused(outcome: Outcome) -> bool:
    """Return True if preflight failed and nothing changed. The checks of rollback are among its findings."""
    if any(finding.verdict is Verdict.FAIL for finding in outcome.preflight):
        return True
    failed = any(finding.verdict is Verdict.FAIL for finding in outcome.findings)
    return failed and not (outcome.results or outcome.facts or outcome.plan.steps)


def preflight_exit_code(findings: Sequence[Finding], *, strict: bool = False) -> int:
    """Return 0 if a run could start, 1 if it would be refused; `strict` counts unknown as failed."""
    failing = {Verdict.FAIL, Verdict.UNKNOWN} if strict else {Verdict.FAIL}
    return FAILED if {finding.verdict for finding in findings} & failing else DONE
