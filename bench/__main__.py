"""The serve line side by side with postgres_exporter and with the floor, which is a COPY of the same rows.

Figures are of this machine at this moment: compare ratios. Needs Linux, the demo's PostgreSQL and, for
the peer, a postgres_exporter in PATH.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import builds, figures, writers
from bench.database import INDEXES_PER_TABLE, bench_server
from bench.figures import Figure
from bench.peer import find_peer
from bench.runs import SMALLER, Bench
from bench.table import TABLE

RESULT = Path("build", "bench.json")
BUILD_ROUNDS = 3


def main() -> int:
    """The exit code: 0 when everything could be measured, whatever the figures."""
    arguments = _parser().parse_args()
    console, progress = Console(), Console(stderr=True)
    if not sys.platform.startswith("linux"):
        progress.print("the benchmark asks /proc: run it on Linux")
        return 2
    peer = find_peer(arguments.peer)
    found: list[Figure] = []
    with bench_server() as server, tempfile.TemporaryDirectory() as folder:
        machine = f"{_processor()}; Linux {platform.release()}, Python {platform.python_version()}, "
        machine += f"PostgreSQL {server.version}, {peer.title if peer else 'no peer'}"
        progress.print(machine)
        bench = Bench(server, Path(folder), peer, arguments.rounds, say=progress.print)
        # First, while pg_stat_statements has as few entries as on a server of ordinary size.
        found += bench.sidecar()
        found += bench.distance()
        found += bench.compare(arguments.indexes)
        if arguments.full:
            found += bench.large(arguments.large_indexes, smaller=arguments.indexes)
    if arguments.build_rows:
        found += builds.run(arguments.build_rows, BUILD_ROUNDS)
        found += writers.run(arguments.build_rows, BUILD_ROUNDS)
    figures.print_table(found, console)
    _write(found, f"{machine}; {_command()}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--peer", type=Path, metavar="FILE", help="postgres_exporter (newest in PATH)")
    parser.add_argument(
        "--indexes", type=_indexes, default=10_000, metavar="N", help="indexes of the comparison (10000)"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="also very many indexes without the peer: half an hour, not 5 minutes",
    )
    parser.add_argument(
        "--large-indexes", type=_indexes, default=100_000, metavar="N", help="how many of them (100000)"
    )
    parser.add_argument(
        "--build-rows",
        type=int,
        default=3_000_000,
        metavar="N",
        help="rows of each table that init builds on beside psql (3000000), 0 for none",
    )
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="scrapes that count (9)")
    return parser


def _indexes(text: str) -> int:
    count, least = int(text), INDEXES_PER_TABLE * SMALLER
    if count % least:
        raise argparse.ArgumentTypeError(f"a multiple of {least}, not {count}")
    return count


def _processor() -> str:
    """How many processors of which model."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} processors ({models[0] if models else platform.machine()})"


def _command() -> str:
    """How this run was started, without where the peer lies on this machine."""
    words = ["FILE" if "/" in word else word for word in sys.argv[1:]]
    return "`make bench" + (f' ARGS="{" ".join(words)}"`' if words else "`")


def _write(found: Sequence[Figure], machine: str) -> None:
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(figures.as_json(found), encoding="utf-8")
    TABLE.write_text(f"{machine}\n\n{figures.as_markdown(found)}", encoding="utf-8")
    missed = sum(figure.met is False for figure in found)
    targets = sum(figure.target is not None for figure in found)
    print(f"{missed} of {targets} targets missed; written to {RESULT} and {TABLE}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
