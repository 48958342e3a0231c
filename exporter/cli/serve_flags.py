"""The flags of the commands that serve metrics, and what runs them."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.cli.options import add_setting_flags, add_settings, add_web, read_settings, settings_source


def configure_serve(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `serve` its flags."""
    _add_serve(parser)
    parser.set_defaults(run=_serve)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_web(parser)
    add_setting_flags(
        parser.add_argument_group("what is published"),
        "watch",
        "scrape_timeout_seconds",
        "max_databases",
        "max_indexes",
        "max_statements",
        "query_text",
        "query_text_length",
        "web_external_url",
        "web_enable_lifecycle",
        "log_level",
        "log_format",
    )


def _serve(arguments: argparse.Namespace) -> int:
    from exporter.settings.subprocess_reader import SubprocessReader, read_in_subprocess

    # First: it loads its modules while this process loads those of the service.
    first = SubprocessReader()
    source = settings_source(arguments)
    from exporter.metrics.service import run

    return run(lambda: first.read(source), lambda: read_in_subprocess(source))


def configure_check(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `check` its flags."""
    # Those of serve, so that one word changes in a command line.
    _add_serve(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="form of the result")
    parser.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from exporter.cli.check import check

    return check(arguments)


def configure_healthcheck(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `healthcheck` its flags."""
    add_settings(parser)
    add_web(parser)
    parser.set_defaults(run=_healthcheck)


def _healthcheck(arguments: argparse.Namespace) -> int:
    from exporter.metrics.web.healthcheck import check_health

    settings = read_settings(arguments)
    file = settings.web_config_file
    is_healthy = check_health(settings.web_listen_address, web_config_file=Path(file) if file else None)
    return 0 if is_healthy else 1
