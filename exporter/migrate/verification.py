"""The success criteria of a migration, measured and judged: the verify command, and the end of init."""

from __future__ import annotations

from dataclasses import replace

from exporter.evidence.baseline import from_detail
from exporter.evidence.measure.plans import measure_probes
from exporter.migrate.assessment import build_times
from exporter.migrate.observe.facts import read_index_facts
from exporter.migrate.observe.indexes import observe_declared
from exporter.migrate.options import RunOptions
from exporter.migrate.preflight import check_kinds
from exporter.migrate.preflight.declarations import declaration_findings, uncompiled_findings
from exporter.migrate.run import Run, open_run
from exporter.migrate.verify import verify
from exporter.model import Database, Manifest, Outcome, Plan, ProbeMeasurement, Verdict


def check_result(database: Database, manifest: Manifest, options: RunOptions) -> Outcome:
    """The success criteria one by one. Changes nothing."""
    with open_run("verify", database, manifest, options) as run:
        # Reading runs no code of the journal's owner: a role that may not write it may verify.
        is_readable = run.journal.unreadable_because() is None
        return verify_run(run, from_detail(run.journal.baseline()) if is_readable else ())


def verify_run(run: Run, before: tuple[ProbeMeasurement, ...]) -> Outcome:
    """The success criteria as they are now, compared with the measurements `before` the build.

    A table that cannot have an index and a declaration that the server refuses fail; the other indexes are
    judged nevertheless. Works for a role that may only read, with or without the journal, and on a standby.
    """
    connection = run.journal.live_connection()
    is_readable = run.journal.unreadable_because() is None
    created = run.journal.created() if is_readable else {}
    log = run.journal.latest() if is_readable else {}
    kinds = [one for one in check_kinds(connection, run.manifest) if one.verdict is Verdict.FAIL]
    unfit = {finding.subject for finding in kinds}
    fit = tuple(index for index in run.manifest.indexes if index.table.quoted not in unfit)
    manifest = replace(run.manifest, indexes=fit, analyze=())
    definitions = {index.name: log[index.name].definition for index in fit if index.name in log}
    observation = observe_declared(connection, manifest, created, definitions=definitions)
    observed = observation.indexes
    after = measure_probes(
        connection,
        replace(manifest, indexes=tuple(index.declared for index in observed)),
        budget_seconds_per_probe=run.options.probe_budget_seconds,
        covered_by={
            index.declared.name: index.covered_by for index in observed if index.covered_by is not None
        },
    )
    facts = read_index_facts(connection, observed, budget_seconds=run.options.probe_budget_seconds)
    findings = (
        *kinds,
        *declaration_findings(observation.faults),
        *uncompiled_findings(observation.not_compiled),
        *verify(facts, before, after, built_at=build_times(created)),
    )
    outcome = run.outcome(Plan(manifest.migration, (), observed, ()))
    return replace(outcome, findings=findings, facts=facts, before=before, after=after)
