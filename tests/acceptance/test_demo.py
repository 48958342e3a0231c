"""`demo` as a user runs it: from the load to the exporter, and nothing left behind however it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.demo.monitoring import fetch
from exporter.demo.processes import LOOPBACK, is_running
from exporter.demo.run import scans_by_index
from tests.support.ports import free_port
from tests.support.run_directory import run_directory
from tests.support.tools import find_tool
from tests.support.waiting import wait_for

INDEXES = {"idx_messages_sender_created", "idx_posts_user_created"}
KINDS = ("message history", "user timeline", "feed", "write a message", "delete a message")


class Demo:
    """A running `demo` with a temporary folder of its own, by which everything that it starts is known."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.temporary = run_directory() / f"demo-{self.port}"
        self.temporary.mkdir(mode=0o755)
        self.output_path = self.temporary.with_suffix(".output")
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "exporter", "demo", "--messages", "20000"),
                    *("--port", str(self.port), *options),
                ],
                env={**os.environ, "TMPDIR": str(self.temporary), "COLUMNS": "80"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.output_path.read_text(encoding="utf-8")

    def wait_for_output(self, text: str) -> None:
        """Return once it has printed `text`; an end before that fails."""

        def look() -> bool | None:
            ended = self.process.poll() is not None
            if text in self.output:
                return True
            assert not ended, self.output
            return None

        wait_for(repr(text), look, timeout_seconds=120)

    def processes(self) -> list[str]:
        """The command lines of all that it started and that still runs."""
        return [
            _read(entry / "cmdline").replace("\0", " ")
            for entry in Path("/proc").glob("[0-9]*")
            if self._started(entry) and is_running(int(entry.name))
        ]

    def _started(self, entry: Path) -> bool:
        # PostgreSQL's environment is hidden where it runs as another user, but its data directory is not.
        return f"TMPDIR={self.temporary}\0" in _read(entry / "environ") or f"{self.temporary}/" in _read(
            entry / "cmdline"
        )

    def assert_nothing_left(self) -> None:
        """Neither a process nor a file."""
        assert self.processes() == []
        assert list(self.temporary.iterdir()) == []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


@contextmanager
def _demo(*options: str) -> Iterator[Demo]:
    demo = Demo(*options)
    try:
        yield demo
    finally:
        demo.process.kill()
        demo.process.wait()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds what is left through /proc")
def test_it_goes_through_all_parts_and_ends_by_itself() -> None:
    with _demo("--duration", "5s", "--no-prometheus") as demo:
        demo.wait_for_output("Next: open")
        page = fetch(f"http://{LOOPBACK}:{demo.port}/metrics")
        assert any("postgres" in command for command in demo.processes())

        assert demo.process.wait() == 0, demo.output

    demo.assert_nothing_left()
    scans = scans_by_index(page)
    assert set(scans) == INDEXES
    assert all(count > 0 for count in scans.values())
    checked = subprocess.run(
        [find_tool("promtool"), "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    for kind in KINDS:
        row = next(line for line in demo.output.splitlines() if line.strip().startswith(kind))
        assert len(re.findall(r"[0-9.]+ m?s\b", row)) == 4, row
    assert "CREATE INDEX CONCURRENTLY" in demo.output
    # It has a source for all that init asks.
    assert "unknown  " not in demo.output
    assert f"http://{LOOPBACK}:{demo.port}/metrics" in demo.output
    assert "Traceback" not in demo.output


def _while_loading(demo: Demo) -> None:
    demo.wait_for_output("PostgreSQL 18")


def _while_working(demo: Demo) -> None:
    demo.wait_for_output("without the indexes")


def _while_serving(demo: Demo) -> None:
    find_tool("prometheus")
    find_tool("alertmanager")
    demo.wait_for_output("until Ctrl-C")
    assert any("prometheus" in command for command in demo.processes())


@pytest.mark.parametrize(
    ("moment", "number", "exit_code"),
    [
        # The first line comes when the server is there and the load begins.
        (_while_loading, signal.SIGINT, 130),
        (_while_working, signal.SIGTERM, 143),
        (_while_serving, signal.SIGINT, 0),
    ],
)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds what is left through /proc")
def test_a_signal_at_any_moment_leaves_nothing(
    moment: Callable[[Demo], None], number: signal.Signals, exit_code: int
) -> None:
    with _demo() as demo:
        moment(demo)
        demo.process.send_signal(number)

        assert demo.process.wait() == exit_code, demo.output

    demo.assert_nothing_left()
    assert "Traceback" not in demo.output


def test_kept_data_stay_and_start_again() -> None:
    kept = run_directory() / "kept"
    with _demo("--keep", str(kept)) as demo:
        _while_working(demo)
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait() == 130

    assert (kept / "data" / "PG_VERSION").read_text().strip() == "18"
    assert not (kept / "data" / "postmaster.pid").exists()
    assert str(kept / "data") in demo.output
    with _demo("--keep", str(kept)) as again:
        assert again.process.wait() == 2
    assert "name a new or empty directory" in again.output
