"""What must hold before anything is touched: pass, warn, fail or unknown, with the fact seen and the hint.

Asks the server, the tables and the disk; changes nothing. Any failed finding stops a run before its first
step. `check_before_build` asks what needs no plan, `check_plan` what the builds of a plan will meet; each
family of checks has a module of its own, which judges and, where it is pure, asks nothing.
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
