"""`plan`: what init would do, or a psql script that does it."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.cli.choice import Chosen, chosen_targets, index_not_declared, limited_to
from exporter.cli.commands.reading import read_each
from exporter.cli.commands.run_options import build_options
from exporter.cli.documents import plan_document, plan_report_of
from exporter.cli.options import read_settings
from exporter.cli.output import Output, print_text
from exporter.manifest.loader import load_manifest, manifest_files
from exporter.migrate import report
from exporter.migrate.assessment import assess
from exporter.migrate.plan.psql_script import as_script, only_manifest
from exporter.model import Manifest
from exporter.settings.model import Settings


def plan(arguments: argparse.Namespace, output: Output) -> int:
    """The exit code of showing what init would do in every chosen database."""
    settings = read_settings(arguments)
    if arguments.sql:
        manifest = only_manifest(_declared(arguments, settings), arguments.migration)
        limited = limited_to(manifest, arguments.index)
        if not limited.indexes:
            raise index_not_declared(arguments.index, [manifest])
        print_text(as_script(limited, settings.journal_schema))
        return 0

    def read(one: Chosen) -> int:
        assessment = assess(one.database, one.manifest, build_options(settings, one, dry_run=True))
        shown = plan_report_of(one.database, assessment)
        output.write(plan_document(shown))
        return report.plan_exit_code(shown)

    return read_each(arguments, settings, output, read)


def _declared(arguments: argparse.Namespace, settings: Settings) -> list[Manifest]:
    """The manifests to write a script of, for which no server has to be named."""
    if settings.targets or settings.dsn is not None or settings.dsn_file is not None:
        bound: list[Manifest] = []
        for target in chosen_targets(arguments, settings):
            for database in target.databases:
                if arguments.database in (None, database.datname):
                    bound += database.manifests
            for pattern in target.patterns:
                bound += pattern.manifests
        return list(dict.fromkeys(bound))
    return [load_manifest(file) for path in settings.manifests for file in manifest_files(Path(path))]
