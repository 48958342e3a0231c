"""A report as JSON. The keys are stable, described in docs/report.md; new keys may be added."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from exporter.migrate.report.exit_codes import exit_code
from exporter.migrate.report.summary import next_steps, summary
from exporter.migrate.report.tables import probe_pairs
from exporter.model import (
    IndexEstimate,
    IndexFacts,
    ObservedIndex,
    Outcome,
    Plan,
    ProbeMeasurement,
    Step,
    StepResult,
)
from exporter.text.figures import estimate_of, estimated_wal_bytes, size_ratio, speedup
from exporter.text.findings import as_object

SCHEMA_VERSION = 1

Object = dict[str, Any]


def write(outcome: Outcome) -> str:
    """Return the document, ending in a newline."""
    # ASCII only: names can hold newlines and reversed text.
    return json.dumps(document(outcome), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def document(outcome: Outcome) -> Object:
    """Return the content of the document. Keys name their units; null is unknown, never zero."""
    duration = outcome.finished_at - outcome.started_at
    return {
        "schema_version": SCHEMA_VERSION,
        "command": outcome.command,
        "run": outcome.run,
        "migration": outcome.migration,
        "datname": outcome.datname,
        "address": outcome.address,
        "server_version": outcome.server_version,
        "started_at": _moment(outcome.started_at),
        "finished_at": _moment(outcome.finished_at),
        "duration_seconds": duration.total_seconds(),
        "dry_run": outcome.dry_run,
        "wal_bytes": outcome.wal_bytes,
        "estimated_wal_bytes": estimated_wal_bytes(outcome),
        "exit_code": exit_code(outcome),
        "summary": list(summary(outcome)),
        "plan": plan_object(outcome.plan),
        "preflight": [as_object(finding) for finding in outcome.preflight],
        "results": [_result(result) for result in outcome.results],
        "indexes": [{**_facts(facts), **_estimate(estimate_of(outcome, facts))} for facts in outcome.facts],
        "probes": [_probe(before, after) for before, after in probe_pairs(outcome)],
        "findings": [as_object(finding) for finding in outcome.findings],
        "next_steps": list(next_steps(outcome)),
    }


def plan_object(plan: Plan) -> Object:
    """Return the steps of a plan, the indexes without work and those that need a decision."""
    return {
        "steps": [_step(step) for step in plan.steps],
        "settled": [_observed(index) for index in plan.settled],
        "refused": [_observed(index) for index in plan.refused],
    }


def _step_names(step: Step) -> Object:
    return {
        "kind": step.kind.value,
        "schemaname": step.table.schemaname,
        "relname": step.table.relname,
        "indexname": None if step.index is None else step.index.name,
    }


def _step(step: Step) -> Object:
    return {
        **_step_names(step),
        "sql": step.sql,
        "lock": step.lock,
        "done_when": step.done_when,
        "undo": step.undo,
    }


def _result(result: StepResult) -> Object:
    return {
        **_step_names(result.step),
        "status": result.status.value,
        "seconds": result.seconds,
        "attempts": result.attempts,
        "phases": [{"phase": time.phase, "seconds": time.seconds} for time in result.phases],
        "waits": [
            {
                "phase": wait.phase,
                "seconds": wait.seconds,
                "pid": wait.pid,
                "usename": wait.usename,
                "application_name": wait.application_name,
                "query": wait.query,
            }
            for wait in result.waits
        ],
        "sqlstate": result.sqlstate,
        "message": result.message,
        "hint": result.hint,
    }


def _observed(index: ObservedIndex) -> Object:
    return {
        "schemaname": index.declared.table.schemaname,
        "relname": index.declared.table.relname,
        "indexname": index.declared.name,
        "state": index.state.value,
        "definition": index.definition,
        "found_definition": index.found_definition,
        "covered_by": index.covered_by,
        "builder_pid": index.builder_pid,
        "detail": index.detail,
    }


def _facts(facts: IndexFacts) -> Object:
    return {
        **_observed(facts.observed),
        "indisvalid": facts.indisvalid,
        "indisready": facts.indisready,
        "size_bytes": facts.size_bytes,
        "table_size_bytes": facts.table_size_bytes,
        "size_ratio": size_ratio(facts),
        "max_size_ratio": facts.observed.declared.max_size_ratio,
        "table_pages": facts.table_pages,
        "table_last_analyze": _moment(facts.table_last_analyze),
        "nullable": list(facts.nullable),
        "unproven": list(facts.unproven),
    }


def _estimate(estimate: IndexEstimate | None) -> Object:
    return {
        "estimated_size_bytes": None if estimate is None else estimate.index_bytes,
        "estimate_is_rough": None if estimate is None else estimate.is_rough,
    }


def _probe(before: ProbeMeasurement | None, after: ProbeMeasurement | None) -> Object:
    names = after or before
    return {
        "indexname": None if names is None else names.index_name,
        "probe": None if names is None else names.probe,
        "speedup": speedup(before, after),
        "before": None if before is None else _measurement(before),
        "after": None if after is None else _measurement(after),
    }


def _measurement(measurement: ProbeMeasurement) -> Object:
    return {
        "samples": measurement.samples,
        "samples_using_index": measurement.samples_using_index,
        "median_seconds": measurement.median_seconds,
        "stopped_after_seconds": measurement.stopped_after_seconds,
        "runs": measurement.runs,
        "node": measurement.node,
        "total_cost": measurement.total_cost,
        "plan": measurement.plan,
        "reason": measurement.reason,
        "detail": measurement.detail,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
