"""What a run came to, in one number."""

from __future__ import annotations

from exporter.model import Outcome, StepStatus, Verdict

DONE = 0
FAILED = 1
LEFT_BEHIND = 3
HALTED = 4


def exit_code(outcome: Outcome, *, strict: bool = False) -> int:
    """0 done, 1 failed or stopped clean, 3 something left behind, 4 a person decides or the server goes on.

    What was left behind outranks the rest, because it costs writes until it is cleaned up, and a degraded
    index queries too. `strict`
    counts unknown findings as failed.
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
    return DONE
