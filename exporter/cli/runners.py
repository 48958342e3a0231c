"""One function a command, each of which loads the room that runs it."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.cli.options import read_settings, settings_source
from exporter.cli.output import Output


def check(arguments: argparse.Namespace, output: Output) -> int:
    """Run `check`."""
    from exporter.cli.commands.check import check

    return check(arguments, output)


def plan(arguments: argparse.Namespace, output: Output) -> int:
    """Run `plan`."""
    from exporter.cli.commands.plan import plan

    return plan(arguments, output)


def preflight(arguments: argparse.Namespace, output: Output) -> int:
    """Run `preflight`."""
    from exporter.cli.commands.preflight import preflight

    return preflight(arguments, output)


def init(arguments: argparse.Namespace, output: Output) -> int:
    """Run `init`."""
    from exporter.cli.commands.init import init

    return init(arguments, output)


def status(arguments: argparse.Namespace, output: Output) -> int:
    """Run `status`."""
    from exporter.cli.commands.status import status

    return status(arguments, output)


def verify(arguments: argparse.Namespace, output: Output) -> int:
    """Run `verify`."""
    from exporter.cli.commands.verify import verify

    return verify(arguments, output)


def rollback(arguments: argparse.Namespace, output: Output) -> int:
    """Run `rollback`."""
    from exporter.cli.commands.rollback import rollback

    return rollback(arguments, output)


def import_sql(arguments: argparse.Namespace, output: Output) -> int:
    """Run `import`."""
    from exporter.cli.commands.import_sql import import_sql

    return import_sql(arguments, output)


def demo(arguments: argparse.Namespace, output: Output) -> int:
    """Run `demo`."""
    from exporter.demo.run import run

    return run(arguments)


def serve(arguments: argparse.Namespace, output: Output) -> int:
    """Run `serve`."""
    from exporter.settings.subprocess_reader import SubprocessReader, read_in_subprocess

    # First: it loads its modules while this process loads those of the service.
    first = SubprocessReader()
    source = settings_source(arguments)
    from exporter.metrics.service import run

    return run(lambda: first.read(source), lambda: read_in_subprocess(source))


def healthcheck(arguments: argparse.Namespace, output: Output) -> int:
    """Run `healthcheck`."""
    from exporter.metrics.web.healthcheck import check_health

    settings = read_settings(arguments)
    file = settings.web_config_file
    is_healthy = check_health(settings.web_listen_address, web_config_file=Path(file) if file else None)
    return 0 if is_healthy else 1
