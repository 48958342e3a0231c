"""Nothing that the demo starts outlives it, and no signal gets it in the wrong moment."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from exporter.demo.guard import Guard
from exporter.demo.processes import children, free_port, is_free, is_running
from exporter.demo.signals import Interrupted, Interruptible, signals_deferred
from tests.support.waiting import wait_for

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
OWNER = """
    import sys, time
    from pathlib import Path
    from exporter.demo.guard import Guard
    guard = Guard()
    guard.remove(Path(sys.argv[1]))
    sleeper = guard.spawn([sys.executable, "-c", "import time; time.sleep(600)"])
    print(sleeper.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_owner_that_is_killed_leaves_no_process_and_no_directory(
    number: signal.Signals, tmp_path: Path
) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "file").touch()
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), directory], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        sleeper = int(owner.stdout.readline())
        assert is_running(sleeper)

        owner.send_signal(number)
        owner.wait()

    wait_for("the end of the process", lambda: not is_running(sleeper) or None)
    wait_for("the end of the directory", lambda: not directory.exists() or None)


def test_close_stops_what_is_watched_and_removes_what_was_named(tmp_path: Path) -> None:
    directory = tmp_path / 'with "quotes"\nand a newline'
    directory.mkdir()
    guard = Guard()
    guard.remove(directory)
    process = guard.spawn(SLEEP)

    guard.close()

    assert process.wait() == -signal.SIGTERM
    assert not directory.exists()


def test_what_ignores_its_signal_is_killed() -> None:
    guard = Guard()
    deaf = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as output:
        process = guard.spawn([sys.executable, "-c", deaf], output=output.fileno())
        os.read(reading, 1)

        guard.stop(process, timeout_seconds=0.1)

    assert process.returncode == -signal.SIGKILL
    guard.close()


def test_a_forgotten_process_is_left_alone() -> None:
    guard = Guard()
    process = guard.spawn(SLEEP)
    guard.forget(process.pid)

    guard.close()

    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_spawned_process_is_in_a_session_of_its_own() -> None:
    """Ctrl-C of the terminal reaches the foreground group only."""
    guard = Guard()
    process = guard.spawn(SLEEP)

    assert os.getsid(process.pid) == process.pid
    assert process.pid in children(os.getpid())

    guard.stop(process)
    assert not is_running(process.pid)
    guard.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_interrupts_and_no_other_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruptible():
        with pytest.raises(Interrupted) as interrupted:
            signal.raise_signal(number)
        # The clean-up is under way now.
        signal.raise_signal(signal.SIGINT)

    assert interrupted.value.signum is number
    assert signal.getsignal(number) is before


def test_a_deferred_signal_comes_after_the_block() -> None:
    reached = []

    def send_and_go_on() -> None:
        with signals_deferred():
            signal.raise_signal(signal.SIGTERM)
            reached.append("the end of the block")

    with Interruptible(), pytest.raises(Interrupted):
        send_and_go_on()

    assert reached == ["the end of the block"]


def test_a_free_port_can_be_listened_on() -> None:
    assert is_free(free_port())
