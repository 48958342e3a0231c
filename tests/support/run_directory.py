"""The one temporary folder of a test run, removed however the run ends."""

import functools
import tempfile
from pathlib import Path

from exporter.demo.guard import Guard


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
