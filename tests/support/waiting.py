"""Waiting for what another process will do."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
Value = TypeVar("Value")

POLL_SECONDS = 0.1


def wait_for(what: str, look: Callable[[], Found | None], timeout_seconds: float = 60) -> Found:
    """The first result of `look` that is not None; `what` names it when the time runs out.

    The timeout only ends a wait for something that will not come: no test asserts how long it took.
    """
    deadline = time.monotonic() + timeout_seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come in {timeout_seconds:g} s")
        time.sleep(POLL_SECONDS)
    return found


def wait_for_equal(look: Callable[[], tuple[Value, Value]], timeout_seconds: float = 20) -> None:
    """Returns when the two results of `look` are equal; where they never are, the test fails with both."""
    deadline = time.monotonic() + timeout_seconds
    found, expected = look()
    while found != expected and time.monotonic() <= deadline:
        time.sleep(POLL_SECONDS)
        found, expected = look()
    assert found == expected
