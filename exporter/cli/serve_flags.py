"""The flags of the commands that serve metrics, and what runs them."""

from __future__ import annotations

import argparse
from pathlib import Path

from exporter.cli.options import add_settings, add_web, read_settings, setting, settings_source


def configure_serve(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `serve` its flags."""
    _add_serve(parser)
    parser.set_defaults(run=_serve)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    add_web(parser)
    group = parser.add_argument_group("what is published")
    setting(
        group,
        "--watch",
        "watch",
        metavar="PATTERN",
        action="append",
        help="declared, all, or a pattern over schema.index; may be repeated",
    )
    setting(
        group,
        "--scrape-timeout-seconds",
        "scrape_timeout_seconds",
        metavar="SECONDS",
        help="own limit of one scrape; Prometheus' own timeout counts too",
    )
    setting(
        group, "--max-databases", "max_databases", metavar="N", help="databases found by patterns, at most"
    )
    setting(group, "--max-indexes", "max_indexes", metavar="N", help="watched indexes beyond the declared")
    setting(group, "--max-statements", "max_statements", metavar="N", help="statements per database")
    setting(
        group,
        "--no-query-text",
        "query_text",
        action="store_false",
        help="publish statements by number only",
    )
    setting(
        group, "--query-text-length", "query_text_length", metavar="N", help="characters of a text, at most"
    )
    setting(
        group,
        "--web.external-url",
        "web_external_url",
        metavar="URL",
        help="what /sd gives Prometheus as our address, default the Host header of its request",
    )
    setting(
        group, "--web.enable-lifecycle", "web_enable_lifecycle", action="store_true", help="allow /-/reload"
    )
    setting(group, "--log.level", "log_level", metavar="LEVEL", help="debug, info, warning or error")
    setting(group, "--log.format", "log_format", metavar="FORMAT", help="logfmt or json")


def _serve(arguments: argparse.Namespace) -> int:
    from exporter.settings.subprocess_reader import begin_reading, read_apart

    source = settings_source(arguments)
    begun = begin_reading(source)
    # Meanwhile.
    from exporter.metrics.service import run

    return run(begun, lambda: read_apart(source))


def configure_check(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `check` its flags."""
    # Those of serve, so that one word changes in a command line.
    _add_serve(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="form of the result")
    parser.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from exporter.cli.check import check

    return check(arguments)


def configure_healthcheck(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `healthcheck` its flags."""
    add_settings(parser)
    add_web(parser)
    parser.set_defaults(run=_healthcheck)


def _healthcheck(arguments: argparse.Namespace) -> int:
    from exporter.metrics.web.healthcheck import check_health

    settings = read_settings(arguments)
    file = settings.web_config_file
    is_healthy = check_health(settings.web_listen_address, web_config_file=Path(file) if file else None)
    return 0 if is_healthy else 1
