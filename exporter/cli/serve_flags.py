"""The flags of the commands that serve metrics."""

from __future__ import annotations

import argparse

from exporter.cli.options import add_config_file, add_setting_flags, add_settings, add_web
from exporter.cli.output import add_output


def configure_serve(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `serve` its flags."""
    _add_serve(parser)


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


def configure_check(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `check` its flags."""
    # Those of serve, so that one word changes in a command line.
    _add_serve(parser)
    add_output(parser.add_argument_group("output"))


def configure_healthcheck(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `healthcheck` its flags."""
    group = parser.add_argument_group("settings")
    add_config_file(group)
    add_setting_flags(group, "web_listen_address", "web_config_file")
