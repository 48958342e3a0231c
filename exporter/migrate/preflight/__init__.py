"""The checks before anything is changed: pass, warn, fail or unknown, each with its fact and hint.

Reads the server, the tables and the disk; changes nothing. A failed finding stops a run before its first
step. `check_before_build` makes the checks that need no plan, `check_plan` those of a plan's builds; each
family of checks has a module.
"""

from __future__ import annotations

from exporter.migrate.preflight.checks import (
    PlanEstimate,
    check_before_build,
    check_kinds,
    check_plan,
    estimate_plan,
)

__all__ = [
    "PlanEstimate",
    "check_before_build",
    "check_kinds",
    "check_plan",
    "estimate_plan",
]
