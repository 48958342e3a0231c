"""A program at a terminal of its own, whose keys a test presses."""

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from tests.support.waiting import wait_for

CTRL_C = b"\x03"
# Its first words make the terminal the one that its keys' signals come from.
_AT_THE_TERMINAL = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A running program; Ctrl-C reaches it as it reaches any in the foreground of a terminal."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._keys, its_end = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _AT_THE_TERMINAL, *command],
            env=dict(environment),
            stdin=its_end,
            stdout=its_end,
            stderr=its_end,
        )
        os.close(its_end)
        self._screen = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def screen(self) -> str:
        """All that was on the screen, its lines folded into one."""
        return " ".join(self._screen.decode(errors="replace").split())

    def wait_for(self, text: str) -> None:
        """Returns once that was on the screen."""
        wait_for(f"{text!r} on the screen", lambda: text in self.screen or None)

    def press(self, keys: bytes) -> None:
        """Presses keys."""
        os.write(self._keys, keys)

    def end(self) -> int:
        """The exit code, once it has ended."""
        exit_code = self.process.wait(timeout=120)
        self._reader.join()
        return exit_code

    def close(self) -> None:
        """Kills it if it still runs."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        os.close(self._keys)

    def _read(self) -> None:
        # Linux says by an error that the last program has left the terminal.
        with suppress(OSError):
            while received := os.read(self._keys, 65536):
                self._screen += received
