"""The one temporary folder of a test run, removed however the run ends; and the one that stays."""

import functools
import os
import tempfile
from pathlib import Path

from exporter.demo.guard import Guard

# What test runs fetch and keep.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pg-index-exporter-tests"


@functools.cache
def run_guard() -> Guard:
    """The guard that ends what the run started, also when the run is killed."""
    return Guard()


@functools.cache
def run_directory() -> Path:
    """A folder that every user may enter: PostgreSQL runs as another one where the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="pg-index-exporter-tests-"))
    directory.chmod(0o755)
    run_guard().remove(directory)
    return directory
