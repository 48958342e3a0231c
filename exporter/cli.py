"""The commands. The only room that prints and exits; every command is a parser and one plain function.

Results go to standard output, talk to standard error; the exit code tells the rest (see `errors`).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from exporter import __version__
from exporter.errors import ExporterError, SettingsError
from exporter.migrate import report
from exporter.migrate.build import BuildOptions, Detach
from exporter.migrate.run import check_result, initialise, only_manifest, roll_back
from exporter.migrate.situation import RunOptions, Situation, look
from exporter.migrate.steps import StepOptions
from exporter.model import Database, IndexState, Manifest, Outcome, Target
from exporter.settings import ENVIRONMENT_PREFIX, Settings, load_settings, resolve_targets, take_environment
from exporter.terminal import BuildDisplay

Command = Callable[[argparse.Namespace], int]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command on the command line."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    run: Command = parsed.run
    try:
        return run(parsed)
    except ExporterError as error:
        print(f"pg-index-exporter: {error}", file=sys.stderr)  # noqa: T201 - this room prints
        return error.exit_code
    except KeyboardInterrupt:
        print("pg-index-exporter: interrupted", file=sys.stderr)  # noqa: T201 - this room prints
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left; the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="pg-index-exporter",
        description="Declare PostgreSQL indexes, have them built safely, and watch that they are used.",
    )
    parser.add_argument("--version", action="version", version=f"pg-index-exporter {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _configure_serve(commands.add_parser("serve", help="publish the metrics for Prometheus"))
    _configure_init(commands.add_parser("init", help="create the declared indexes, without downtime"))
    _configure_plan(commands.add_parser("plan", help="show what init would do"))
    _configure_verify(commands.add_parser("verify", help="check the success criteria one by one"))
    _configure_status(commands.add_parser("status", help="show where every declared index stands"))
    _configure_rollback(commands.add_parser("rollback", help="drop what the migration created"))
    _configure_healthcheck(commands.add_parser("healthcheck", help="0 when the running exporter answers"))
    _configure_demo(commands.add_parser("demo", help="see everything at once on an embedded PostgreSQL"))
    return parser


# ------------------------------------------------------------------ settings


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings")
    _setting(group, "--config.file", "config_file", metavar="FILE", help="YAML file with settings")
    _setting(
        group,
        "--dsn",
        "dsn",
        metavar="DSN",
        help="connection string; passwords belong into the environment or a file, not on a command line",
    )
    _setting(group, "--dsn-file", "dsn_file", metavar="FILE", help="file that holds the connection string")
    _setting(
        group,
        "--connect-timeout-seconds",
        "connect_timeout_seconds",
        metavar="SECONDS",
        help="limit of one attempt to connect",
    )
    _setting(
        group,
        "--manifest",
        "manifests",
        metavar="FILE",
        action="append",
        help="declared indexes: a YAML file or the name of a bundled one; may be repeated",
    )
    _setting(group, "--journal-schema", "journal_schema", metavar="SCHEMA", help="schema of the journal")


def _setting(group: argparse._ArgumentGroup, flag: str, field: str, **options: object) -> None:
    variable = ENVIRONMENT_PREFIX + field.upper()
    options["help"] = f"{options['help']} (env: {variable})"
    group.add_argument(flag, dest=f"setting_{field}", default=None, **options)  # type: ignore[arg-type]  # passed through


def _settings(arguments: argparse.Namespace) -> Settings:
    flags = {
        name.removeprefix("setting_"): value
        for name, value in vars(arguments).items()
        if name.startswith("setting_") and value is not None
    }
    file = flags.pop("config_file", None)
    # libpq reads PG* variables for whatever a connection string leaves out: one server's password would
    # go to all of them.
    environment = take_environment(os.environ)
    return load_settings(file=Path(file) if file is not None else None, flags=flags, environment=environment)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which migration, where several are in the settings")
    group.add_argument("--target", help="name of the target")
    group.add_argument("--database", help="name of the database")
    group.add_argument("--migration", help="name of the migration")


def _chosen(arguments: argparse.Namespace, targets: Sequence[Target]) -> Iterator[tuple[Database, Manifest]]:
    """Every database with a manifest that the choice leaves.

    Raises: SettingsError when there is none.
    """
    found = False
    for target in targets:
        if arguments.target not in (None, target.name):
            continue
        for database in target.databases:
            if arguments.database not in (None, database.datname):
                continue
            for manifest in database.manifests:
                if arguments.migration in (None, manifest.migration):
                    found = True
                    yield database, manifest
    if not found:
        raise SettingsError(
            "no manifest is bound to a database here, so nothing is declared",
            mend="name one: --manifest FILE, or targets[].databases[].manifests in the settings",
        )


# ------------------------------------------------------------------ serve


def _configure_serve(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    _add_web(parser)
    group = parser.add_argument_group("what is published")
    _setting(
        group,
        "--watch",
        "watch",
        metavar="PATTERN",
        action="append",
        help="declared, all, or a pattern over schema.index; may be repeated",
    )
    _setting(
        group,
        "--scrape-timeout-seconds",
        "scrape_timeout_seconds",
        metavar="SECONDS",
        help="own limit of one scrape; Prometheus' own timeout counts too",
    )
    _setting(group, "--max-indexes", "max_indexes", metavar="N", help="watched indexes beyond the declared")
    _setting(group, "--max-statements", "max_statements", metavar="N", help="statements per database")
    _setting(
        group,
        "--no-query-text",
        "query_text",
        action="store_false",
        help="publish statements by number only",
    )
    _setting(
        group, "--query-text-length", "query_text_length", metavar="N", help="characters of a text, at most"
    )
    _setting(
        group, "--web.enable-lifecycle", "web_enable_lifecycle", action="store_true", help="allow /-/reload"
    )
    _setting(group, "--log.level", "log_level", metavar="LEVEL", help="debug, info, warning or error")
    _setting(group, "--log.format", "log_format", metavar="FORMAT", help="logfmt or json")
    parser.set_defaults(run=_serve)


def _add_web(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("web")
    _setting(
        group,
        "--web.listen-address",
        "web_listen_address",
        metavar="HOST:PORT",
        help="where to listen, default :10187",
    )
    _setting(
        group,
        "--web.telemetry-path",
        "web_telemetry_path",
        metavar="PATH",
        help="path of the metrics, default /metrics",
    )


def _serve(arguments: argparse.Namespace) -> int:
    # Only this command needs the web stack; the others start faster without it.
    from exporter.metrics.service import ServiceOptions, run

    settings = _settings(arguments)
    targets = resolve_targets(settings)
    return run(targets, ServiceOptions.of(settings))


def _configure_healthcheck(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    _add_web(parser)
    parser.set_defaults(run=_healthcheck)


def _healthcheck(arguments: argparse.Namespace) -> int:
    from exporter.metrics.health import check_health

    settings = _settings(arguments)
    return 0 if check_health(settings.web_listen_address) else 1


# ------------------------------------------------------------------ the change line


def _configure_init(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    _add_choice(parser)
    _add_run(parser)
    parser.add_argument(
        "--adopt-invalid",
        action="store_true",
        help="replace INVALID indexes of the declared names that the journal does not know",
    )
    parser.set_defaults(run=_init)


def _configure_rollback(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    _add_choice(parser)
    _add_run(parser)
    parser.set_defaults(run=_rollback)


def _configure_verify(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    _add_choice(parser)
    _add_report(parser)
    parser.add_argument("--strict", action="store_true", help="count unknown as failed")
    parser.set_defaults(run=_verify)


def _configure_status(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    _add_choice(parser)
    parser.set_defaults(run=_status)


def _configure_plan(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    _add_choice(parser)
    parser.add_argument(
        "--sql", action="store_true", help="write a psql script instead, which keeps the same journal"
    )
    parser.set_defaults(run=_plan)


def _add_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it runs")
    group.add_argument("--dry-run", action="store_true", help="show the plan and touch nothing")
    group.add_argument("--yes", action="store_true", help="do not ask before the first step")
    group.add_argument("--sequential", action="store_true", help="one table at a time")
    group.add_argument(
        "--deadline-seconds",
        type=float,
        default=StepOptions().deadline_seconds,
        metavar="SECONDS",
        help="limit of one statement on the server, default 24 hours",
    )
    _add_report(parser)


def _add_report(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("report")
    group.add_argument(
        "--format",
        choices=("text", "markdown", "json"),
        default="text",
        help="form of the report on standard output",
    )
    group.add_argument(
        "--report",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="write the report here too; .json and .md choose the form, else text; may be repeated",
    )


def _run_options(arguments: argparse.Namespace, settings: Settings) -> RunOptions:
    return RunOptions(
        journal_schema=settings.journal_schema,
        adopt_invalid=getattr(arguments, "adopt_invalid", False),
        dry_run=getattr(arguments, "dry_run", False),
        connect_timeout_seconds=settings.connect_timeout_seconds,
        build=BuildOptions(
            sequential=getattr(arguments, "sequential", False),
            steps=StepOptions(
                deadline_seconds=getattr(arguments, "deadline_seconds", StepOptions().deadline_seconds)
            ),
        ),
    )


def _init(arguments: argparse.Namespace) -> int:
    return _change(arguments, initialise)


def _rollback(arguments: argparse.Namespace) -> int:
    return _change(arguments, roll_back)


def _change(arguments: argparse.Namespace, change: Callable[..., Outcome]) -> int:
    settings = _settings(arguments)
    options = _run_options(arguments, settings)
    console = Console(stderr=True)
    exit_code = 0
    with _detach_on_sigterm():
        for database, manifest in _chosen(arguments, resolve_targets(settings)):
            display = BuildDisplay(console)

            def confirm(situation: Situation) -> bool:
                return _confirm(situation, arguments, console)

            with _shown_while_building(display) as on_event:
                outcome = change(database, manifest, options, confirm=confirm, on_event=on_event)
            _write_reports(outcome, arguments)
            exit_code = max(exit_code, report.exit_code(outcome))
    return exit_code


@contextmanager
def _shown_while_building(display: BuildDisplay) -> Iterator[Callable[..., None]]:
    """The display, started by the first event: a question to the user must not meet a live bar."""
    entered = False

    def on_event(event: object) -> None:
        nonlocal entered
        if not entered:
            display.__enter__()
            entered = True
        display(event)  # type: ignore[arg-type]  # the builder sends events only

    try:
        yield on_event
    finally:
        if entered:
            display.__exit__()


def _confirm(situation: Situation, arguments: argparse.Namespace, console: Console) -> bool:
    console.print(report.plan_as_text(situation.plan), markup=False, highlight=False, soft_wrap=True)
    if arguments.yes:
        return True
    if not (sys.stdin.isatty() and console.is_terminal):
        raise SettingsError(
            "this changes the database and nobody can be asked", mend="add --yes, or --dry-run"
        )
    return console.input("Go on? [y/N] ", markup=False).strip().lower() in ("y", "yes")


@contextmanager
def _detach_on_sigterm() -> Iterator[None]:
    def detach(_signal: int, _frame: FrameType | None) -> None:
        raise Detach

    previous = signal.signal(signal.SIGTERM, detach)
    try:
        yield
    except Detach:
        raise ExporterError("ended by SIGTERM before anything was running") from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _verify(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    exit_code = 0
    for database, manifest in _chosen(arguments, resolve_targets(settings)):
        outcome = check_result(database, manifest, _run_options(arguments, settings))
        _write_reports(outcome, arguments)
        exit_code = max(exit_code, report.exit_code(outcome, strict=arguments.strict))
    return exit_code


def _status(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    exit_code = 0
    for database, manifest in _chosen(arguments, resolve_targets(settings)):
        situation = look(database, manifest, _run_options(arguments, settings))
        _print(report.status_as_text(manifest, situation.observed, situation.log))
        settled = all(index.state in (IndexState.PRESENT, IndexState.COVERED) for index in situation.observed)
        exit_code = max(exit_code, 0 if settled else 1)
    return exit_code


def _plan(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    targets = resolve_targets(settings)
    if arguments.sql:
        from exporter.migrate.script import as_script

        chosen = list(_chosen(arguments, targets))
        manifest = only_manifest(list(dict.fromkeys(manifest for _, manifest in chosen)), arguments.migration)
        _print(as_script(manifest, settings.journal_schema))
        return 0
    for database, manifest in _chosen(arguments, targets):
        situation = look(database, manifest, _run_options(arguments, settings))
        _print(report.plan_as_text(situation.plan))
    return 0


def _write_reports(outcome: Outcome, arguments: argparse.Namespace) -> None:
    forms = {"text": report.as_text, "markdown": report.as_markdown, "json": report.as_json}
    endings = {".md": "markdown", ".json": "json"}
    _print(forms[arguments.format](outcome))
    for path in arguments.report:
        text = forms[endings.get(path.suffix, "text")](outcome)
        try:
            path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"the report cannot be written to {path}: {error.strerror}", mend="choose another place"
            ) from error


def _print(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


# ------------------------------------------------------------------ demo


def _configure_demo(parser: argparse.ArgumentParser) -> None:
    from exporter.demo.run import configure_parser

    configure_parser(parser)
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from exporter.demo.run import run

    return run(arguments)
