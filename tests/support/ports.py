"""Ports for programs that tests start, each given once in a run."""

import os

from exporter.demo import processes
from tests.support.run_directory import shared_directory


def free_port() -> int:
    """Return a free TCP port of the loopback address that no other worker of the run was given.

    A program listens on it only some time later; until then another worker could be given the same.
    """
    given = shared_directory() / "ports"
    given.mkdir(exist_ok=True)
    while True:
        port = processes.free_port()
        try:
            os.close(os.open(given / str(port), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return port
