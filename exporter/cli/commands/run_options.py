"""The options of a run, made from the settings."""

from __future__ import annotations

from dataclasses import replace

from exporter.cli.choice import Chosen
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
from exporter.model import BackupCommand, OnFailure
from exporter.settings.binding import disk_of
from exporter.settings.model import Settings


def watch_options(settings: Settings) -> WatchOptions:
    """Budgets and policies for sessions in the way."""
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


def run_options(settings: Settings, *, adopt_invalid: bool = False, dry_run: bool = False) -> RunOptions:
    """The options that every command has."""
    steps = StepOptions(deadline_seconds=settings.deadline_seconds, watch=watch_options(settings))
    return RunOptions(
        journal_schema=settings.journal_schema,
        adopt_invalid=adopt_invalid,
        dry_run=dry_run,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        build=BuildOptions(
            sequential=settings.sequential,
            max_parallel=settings.max_parallel,
            on_failure=OnFailure(settings.on_failure),
            steps=steps,
        ),
    )


def build_options(
    settings: Settings, one: Chosen, *, adopt_invalid: bool = False, dry_run: bool = False
) -> RunOptions:
    """The options of a command that builds, or checks what a build needs.

    Raises: SettingsError for settings of one server's disk where several targets are chosen.
    """
    options = run_options(settings, adopt_invalid=adopt_invalid, dry_run=dry_run)
    words = settings.backup_command
    watch = options.build.steps.watch
    disk = disk_of(settings, one.target, target_count=one.target_count)
    preflight = PreflightOptions(
        data_directory=disk.data_directory,
        free_bytes=dict(disk.free_bytes),
        backup=BackupCommand(words, settings.backup_timeout_seconds) if words else None,
        # A plan and a dry run change nothing, and a command may.
        runs_backup_command=not dry_run,
        needs_signal=watch.on_blocker is not BlockerPolicy.WAIT or watch.on_waiter is WaiterPolicy.CANCEL,
        max_parallel=1 if settings.sequential else settings.max_parallel,
        disk_budget_bytes=settings.disk_budget_bytes,
        deadline_seconds=settings.deadline_seconds,
    )
    return replace(options, preflight=preflight)
