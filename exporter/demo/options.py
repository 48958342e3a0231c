"""The options of the demo, and their checks before anything starts."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from exporter.demo.processes import LOOPBACK, is_free
from exporter.errors import SettingsError

DEFAULT_MESSAGES = 500_000
DEFAULT_PORT = 10187
FEWEST_MESSAGES = 1000
_DURATION = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)(?P<unit>s|m|h)?")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options. `duration_seconds` limits the exporter's part only; None means until Ctrl-C."""

    messages: int = DEFAULT_MESSAGES
    duration_seconds: float | None = None
    port: int = DEFAULT_PORT
    keep: Path | None = None
    prometheus: bool = True


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of `demo` to its parser."""
    parser.add_argument(
        "--messages",
        type=_message_count,
        default=DEFAULT_MESSAGES,
        metavar="N",
        help="rows of messages; other tables in proportion (default %(default)s)",
    )
    parser.add_argument(
        "--duration",
        type=_duration_seconds,
        metavar="TIME",
        help="stop after the exporter has run this long, such as 60s or 5m (default: until Ctrl-C)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        metavar="PORT",
        help="port of the exporter on 127.0.0.1 (default %(default)s)",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the data in this new or empty directory"
    )
    parser.add_argument(
        "--no-prometheus", action="store_true", help="start neither Prometheus nor Alertmanager"
    )


def check_options(options: DemoOptions) -> None:
    """Raises: SettingsError for an option that would fail only after the load."""
    if not is_free(options.port):
        raise SettingsError(
            f"port {options.port} of {LOOPBACK} is in use, the exporter cannot listen there",
            hint=f"choose another port: --port {options.port + 1}",
        )
    keep = options.keep
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise SettingsError(
            f"--keep {keep}: exists and is not an empty directory", hint="name a new or empty directory"
        )


def _message_count(text: str) -> int:
    if not text.isdecimal() or int(text) < FEWEST_MESSAGES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of at least {FEWEST_MESSAGES} (an index does not pay for fewer rows)"
        )
    return int(text)


def _duration_seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 60s, 5m or 1h")
    return float(match["number"]) * _UNIT_SECONDS[match["unit"] or "s"]


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 1 to 65535")
    return int(text)
