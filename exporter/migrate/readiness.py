"""The preflight command: every finding that can be had before a build. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.migrate.assessment import indexes_to_build, read_plan
from exporter.migrate.options import RunOptions
from exporter.migrate.preflight import check_before_build, check_plan
from exporter.migrate.preflight.declarations import check_declarations, not_compiled
from exporter.migrate.preflight.findings import TABLE_KIND
from exporter.migrate.run import Run, now, open_run
from exporter.model import Database, DeclaredIndex, Finding, Manifest, Readiness, Verdict
from exporter.postgres.fetching import read_facts
from exporter.postgres.target import address


def check_readiness(database: Database, manifest: Manifest, options: RunOptions) -> Readiness:
    """Everything that init requires before it builds, checked at once."""
    checked_at = now()
    with open_run("preflight", database, manifest, options) as run:
        return Readiness(
            manifest.migration,
            database.datname,
            address(database),
            read_facts(run.connection).server_version,
            checked_at,
            read_readiness(run),
        )


def read_readiness(run: Run) -> tuple[Finding, ...]:
    """Every finding that can be had: a failed check stops only those that depend on it."""
    manifest, options = run.manifest, run.options.preflight
    findings = check_before_build(run.connection, manifest, options)
    builds: Sequence[DeclaredIndex] = manifest.indexes
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        findings += (not_compiled(manifest),)
        # There is nothing to estimate on a table that is absent or of another kind.
        unfit = {
            one.subject for one in findings if one.criterion == TABLE_KIND and one.verdict is Verdict.FAIL
        }
        builds = [index for index in manifest.indexes if index.table.quoted not in unfit]
    else:
        planned = read_plan(run)
        findings += (*planned.preflight, *check_declarations(planned.observed))
        if not planned.is_refused:
            builds = indexes_to_build(planned.plan)
    return findings + check_plan(run.connection, manifest, builds, options).findings
