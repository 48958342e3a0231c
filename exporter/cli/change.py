"""Running the commands of the change line: init, preflight, rollback, verify, status, plan."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from exporter.cli.options import Chosen, chosen, chosen_targets, print_text, read_settings, text_width
from exporter.cli.screen import RunOnScreen, origin_of
from exporter.errors import ExporterError, SettingsError
from exporter.manifest.loader import load_manifest, manifest_files
from exporter.migrate import report
from exporter.migrate.assessment import assess, require_passed
from exporter.migrate.events import Detach
from exporter.migrate.init import initialise
from exporter.migrate.options import (
    BlockerPolicy,
    BuildOptions,
    Patterns,
    PreflightOptions,
    RunOptions,
    StepOptions,
    WaiterPolicy,
    WatchOptions,
)
from exporter.migrate.plan.psql_script import as_script, only_manifest
from exporter.migrate.readiness import check_readiness
from exporter.migrate.rollback.run import roll_back
from exporter.migrate.status import read_status
from exporter.migrate.verification import check_result
from exporter.model import BackupCommand, Database, Manifest, OnFailure, Outcome, Readiness
from exporter.postgres.target import address
from exporter.settings.binding import disk_of, resolve_targets
from exporter.settings.model import Settings

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def init(arguments: argparse.Namespace) -> int:
    """The exit code of creating the declared indexes."""
    settings = read_settings(arguments)
    return _change(arguments, settings, initialise, _build_options)


def rollback(arguments: argparse.Namespace) -> int:
    """The exit code of dropping what the migration created."""
    settings = read_settings(arguments)
    named = [database for target in resolve_targets(settings) for database in target.databases]

    def roll_back_beside(database: Database, *given: Any, on_stage: object, **rest: Any) -> Outcome:
        """Asks the same database of the other targets too: a standby may use what is dropped here."""
        siblings = [one for one in named if one.datname == database.datname and one is not database]
        return roll_back(database, *given, siblings=siblings, **rest)

    return _change(arguments, settings, roll_back_beside, _options_without_preflight)


def verify(arguments: argparse.Namespace) -> int:
    """The exit code of checking the success criteria."""
    settings = read_settings(arguments)
    exit_code = 0
    for one in chosen(arguments, settings):
        outcome = check_result(one.database, one.manifest, _run_options(arguments, settings))
        _write_reports(outcome, arguments)
        exit_code = max(exit_code, report.exit_code(outcome, strict=arguments.strict))
    return exit_code


def preflight(arguments: argparse.Namespace) -> int:
    """The exit code of checking what must hold before init builds."""
    settings = read_settings(arguments)
    exit_code = 0
    for one in chosen(arguments, settings):
        readiness = check_readiness(one.database, one.manifest, _build_options(arguments, settings, one))
        _write(report.PREFLIGHT_FORMS, readiness, arguments)
        code = report.preflight_exit_code(readiness.findings, strict=arguments.strict)
        exit_code = max(exit_code, code)
    return exit_code


def status(arguments: argparse.Namespace) -> int:
    """The exit code of showing where every declared index stands: 0 when all are settled."""
    settings = read_settings(arguments)
    forms: dict[str, Callable[..., str]] = {
        "text": partial(report.status_as_text, width=text_width()),
        "markdown": report.status_as_markdown,
        "json": report.status_as_json,
    }
    exit_code = 0
    for one in chosen(arguments, settings):
        found = read_status(one.database, one.manifest, _run_options(arguments, settings))
        print_text(forms[arguments.format](found))
        exit_code = max(exit_code, report.status_exit_code(found))
    return exit_code


def plan(arguments: argparse.Namespace) -> int:
    """The exit code of showing what init would do."""
    settings = read_settings(arguments)
    if arguments.sql:
        manifest = only_manifest(_declared(arguments, settings), arguments.migration)
        print_text(as_script(manifest, settings.journal_schema))
        return 0
    for one in chosen(arguments, settings):
        situation = assess(one.database, one.manifest, _build_options(arguments, settings, one))
        require_passed(situation)
        print_text(
            report.plan_as_text(
                situation.plan, situation.preflight, origin_of(one.database, situation), text_width()
            )
        )
    return 0


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


def _watch_options(settings: Settings) -> WatchOptions:
    return WatchOptions(
        quiesce_seconds=settings.quiesce_seconds,
        table_budget_seconds=settings.table_budget_seconds,
        writers_budget_seconds=settings.writers_budget_seconds,
        snapshots_budget_seconds=settings.snapshots_budget_seconds,
        on_blocker=BlockerPolicy(settings.on_blocker),
        blocker_limit_seconds=settings.blocker_limit_seconds,
        on_waiter=WaiterPolicy(settings.on_waiter),
        waiter_limit_seconds=settings.waiter_limit_seconds,
        patterns=Patterns(settings.only_application, settings.only_user, settings.only_database),
    )


def _run_options(arguments: argparse.Namespace, settings: Settings) -> RunOptions:
    """The options of every command; those that build have more of them."""
    steps = StepOptions(deadline_seconds=settings.deadline_seconds, watch=_watch_options(settings))
    return RunOptions(
        journal_schema=settings.journal_schema,
        adopt_invalid=getattr(arguments, "adopt_invalid", False),
        dry_run=getattr(arguments, "dry_run", False),
        connect_timeout_seconds=settings.connect_timeout_seconds,
        build=BuildOptions(
            sequential=settings.sequential,
            max_parallel=settings.max_parallel,
            on_failure=OnFailure(settings.on_failure),
            steps=steps,
        ),
    )


def _options_without_preflight(arguments: argparse.Namespace, settings: Settings, _one: Chosen) -> RunOptions:
    return _run_options(arguments, settings)


def _build_options(arguments: argparse.Namespace, settings: Settings, one: Chosen) -> RunOptions:
    """The same with what the preflight is told. Raises: SettingsError for what tells of no single server."""
    options = _run_options(arguments, settings)
    words = settings.backup_command
    watch = options.build.steps.watch
    disk = disk_of(settings, one.target, target_count=one.target_count)
    preflight = PreflightOptions(
        data_directory=disk.data_directory,
        free_bytes=dict(disk.free_bytes),
        backup=BackupCommand(words, settings.backup_timeout_seconds) if words else None,
        # A plan and a dry run touch nothing, and a command may.
        runs_backup_command=not options.dry_run,
        needs_signal=watch.on_blocker is not BlockerPolicy.WAIT or watch.on_waiter is WaiterPolicy.CANCEL,
        max_parallel=1 if settings.sequential else settings.max_parallel,
        disk_budget_bytes=settings.disk_budget_bytes,
        deadline_seconds=settings.deadline_seconds,
    )
    return replace(options, preflight=preflight)


def _change(
    arguments: argparse.Namespace,
    settings: Settings,
    change: Callable[..., Outcome],
    options_of: Callable[[argparse.Namespace, Settings, Chosen], RunOptions],
) -> int:
    console = Console(stderr=True)
    exit_code = 0
    with _ending_by_signals(cancel=settings.cancel_on_term):
        for one in chosen(arguments, settings):
            run = RunOnScreen(console, one.database, is_confirmed=arguments.yes)
            run.display.stage(f"looking at {address(one.database)}")
            with run.shown_while_building() as on_event:
                outcome = change(
                    one.database,
                    one.manifest,
                    options_of(arguments, settings, one),
                    confirm=run.confirm,
                    on_event=on_event,
                    on_stage=run.display.stage,
                )
            # Who declined has just seen the plan.
            is_told = not run.is_declined or arguments.format != "text"
            _write_reports(outcome, arguments, is_printed=is_told)
            run.conclude(outcome)
            exit_code = max(exit_code, report.exit_code(outcome))
    return exit_code


@contextmanager
def _ending_by_signals(*, cancel: bool) -> Iterator[None]:
    """SIGTERM, and the end of the terminal, leave the server to its work; or cancel it, as Ctrl-C does."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt if cancel else Detach

    # Under nohup the end of the terminal is to change nothing.
    ends = [one for one in _ENDING_SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    previous = {one: signal.signal(one, end) for one in ends}
    try:
        yield
    except Detach:
        raise ExporterError("ended by a signal; nothing was running in the server") from None
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)


def _write_reports(outcome: Outcome, arguments: argparse.Namespace, *, is_printed: bool = True) -> None:
    forms = {"text": report.as_text, "markdown": report.as_markdown, "json": report.as_json}
    _write(forms, outcome, arguments, is_printed=is_printed)


def _write(
    forms: Mapping[str, Callable[..., str]],
    told: Outcome | Readiness,
    arguments: argparse.Namespace,
    *,
    is_printed: bool = True,
) -> None:
    endings = {".md": "markdown", ".json": "json"}
    if is_printed:
        is_text = arguments.format == "text"
        print_text(forms["text"](told, text_width()) if is_text else forms[arguments.format](told))
    for path in arguments.report:
        text = forms[endings.get(path.suffix, "text")](told)
        try:
            path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"the report cannot be written to {path}: {error.strerror}", hint="choose another place"
            ) from error
