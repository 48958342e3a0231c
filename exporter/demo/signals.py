"""Signals that end the demo, delivered where they are safe."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """One of the ENDING signals arrived.

    A KeyboardInterrupt, because psycopg cancels the running statement on the server for that one only.
    """

    def __init__(self, signum: signal.Signals) -> None:
        super().__init__(signum.name)
        self.signum = signum


class Interruptible:
    """Raise Interrupted on the first of the ENDING signals inside the block; none after `settle()`."""

    def __init__(self) -> None:
        self._settled = False
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def settle(self) -> None:
        """Ignore further signals, so that the clean-up finishes."""
        self._settled = True

    def __enter__(self) -> Self:
        for signum in ENDING:
            self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _restore(self._previous)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if not self._settled:
            self._settled = True
            raise Interrupted(signal.Signals(signum))


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Deliver the ENDING signals after the block.

    An exception raised by a handler between fork and recording the process id would leave an unknown
    process behind.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python runs handlers in the main thread only.
        yield
        return
    received: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        received.append(signum)

    previous = {signum: signal.signal(signum, note) for signum in ENDING}
    try:
        yield
    finally:
        _restore(previous)
        for number in received:
            signal.raise_signal(number)


def _restore(handlers: dict[signal.Signals, signal._HANDLER]) -> None:
    for signum, handler in handlers.items():
        # None is a handler that was not set from Python and cannot be restored.
        if handler is not None:
            signal.signal(signum, handler)
