"""Reading settings in another process, whose memory is returned when it ends.

pydantic is needed for a moment at the start and when a file changed. docs/decisions.md has the figures that
carry this.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress

from exporter.errors import Fault, SettingsError
from exporter.settings.source import Reading, Source


class SubprocessReader:
    """A process that reads settings once; it loads what it needs for that as soon as it is made."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._reason = ""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this program itself
                # Not from the working directory, unless this process was started from it.
                [sys.executable, "-P", "-m", __name__],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # A signal to this process, as from a terminal, is not for it.
                start_new_session=True,
            )
        except OSError as error:
            self._reason = f"no process can be started: {error.strerror}"

    def read(self, source: Source) -> Reading:
        """The source as it is now. Waits for the end of the process."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return _failed(self._reason)
        answer = b""
        # If it has ended already, its status says why.
        with suppress(BrokenPipeError), process:
            # Through pipes in both directions: other users can see a command line and an environment.
            pickle.dump(source, process.stdin)
            process.stdin.flush()
            answer = process.stdout.read()
        if process.returncode or not answer:
            return _failed(f"the process that reads them ended with status {process.returncode}")
        reading: Reading = pickle.loads(answer)  # noqa: S301 - written by `main`
        return reading


def read_in_subprocess(source: Source) -> Reading:
    """The source as it is now."""
    return SubprocessReader().read(source)


def _failed(reason: str) -> Reading:
    fault = Fault("settings", reason, "check the limits of memory, processes and open files")
    return Reading({}, SettingsError("the settings cannot be read", faults=(fault,)))


def main() -> None:
    """Read the source that comes on standard input, and write the reading to standard output."""
    # This process ends at once: looking for garbage would be an eighth of its time.
    gc.disable()
    # Imported first, while the parent is busy; it says later what to read.
    from exporter.settings.reading import read

    try:
        source: Source = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by `SubprocessReader`
    except EOFError:
        # The parent ended without a question.
        return
    # Reading a pipe or a file of a dead server can take forever; this process must not outlive its parent.
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    sys.stdout.buffer.write(pickle.dumps(read(source)))
    sys.stdout.flush()
    # Without waiting for the thread, which blocks on standard input.
    os._exit(0)


def _exit_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
