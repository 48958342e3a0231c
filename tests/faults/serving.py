"""The exporter as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from exporter.metrics.web.healthcheck import check_health
from tests.support.ports import free_port
from tests.support.waiting import wait_for


@contextmanager
def serve(
    dsn: str | None,
    log: Path,
    *arguments: str,
    port: int | None = None,
    prefix: Sequence[str] = (),
    web_config_file: Path | None = None,
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process of `serve` and its URL, once it answers; without a DSN the arguments name the server.

    A `prefix` runs it in surroundings of its own.
    """
    port = port or free_port()
    address = f"127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(*prefix, sys.executable, "-m", "exporter", "serve", *arguments),
                *("--web.listen-address", address),
            ],
            env={**os.environ, **({} if dsn is None else {"PG_INDEX_EXPORTER_DSN": dsn})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for("the exporter", lambda: check_health(address, web_config_file=web_config_file) or None)
        yield process, f"http://{address}"
    finally:
        process.kill()
        process.wait()
