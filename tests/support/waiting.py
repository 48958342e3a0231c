"""Waiting for what another process will do."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
Value = TypeVar("Value")

# What comes at once costs no more than it must, and what takes long is not asked for all the time.
FIRST_POLL_SECONDS = 0.01
POLL_SECONDS = 0.1


def wait_for(what: str, look: Callable[[], Found | None], timeout_seconds: float = 120) -> Found:
    """The first result of `look` that is not None; `what` names it when the time runs out.

    The timeout only ends a wait for something that will not come: no test asserts how long it took.
    """
    deadline = time.monotonic() + timeout_seconds
    pause_seconds = FIRST_POLL_SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come in {timeout_seconds:g} s")
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, POLL_SECONDS)
    return found


def wait_for_equal(look: Callable[[], tuple[Value, Value]], timeout_seconds: float = 60) -> None:
    """Returns when the two results of `look` are equal; where they never are, the test fails with both."""
    deadline = time.monotonic() + timeout_seconds
    found, expected = look()
    while found != expected and time.monotonic() <= deadline:
        time.sleep(POLL_SECONDS)
        found, expected = look()
    assert found == expected
