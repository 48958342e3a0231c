"""Reading settings in a process of its own, which takes what only reading needs with it when it ends.

pydantic, and what it brings, is a sixth of the memory of a sidecar. It is needed for a moment at the start
and when a file changed, so nothing of it stays in the process that serves.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from exporter.errors import Fault, SettingsError
from exporter.settings.source import Reading, Source


def begin_reading(source: Source) -> Callable[[], Reading]:
    """Begins to read the source; what this gives waits for the end of that and has what came of it."""
    try:
        reader = subprocess.Popen(  # noqa: S603 - this program itself
            # Not from the directory where we happen to be, unless that is where we come from.
            [sys.executable, "-P", "-m", __name__],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A signal to us, as from a terminal, is not for it.
            start_new_session=True,
        )
    except OSError as error:
        reason = f"no process can be started: {error.strerror}"
        return lambda: _failed(reason)
    return lambda: _end_of(reader, source)


def read_apart(source: Source) -> Reading:
    """The source as it is now."""
    return begin_reading(source)()


def _end_of(reader: subprocess.Popen[bytes], source: Source) -> Reading:
    assert reader.stdin is not None  # noqa: S101 - a pipe
    assert reader.stdout is not None  # noqa: S101 - a pipe
    answer = b""
    # One that ended already does not listen; its status tells.
    with suppress(BrokenPipeError), reader:
        # Here and back through pipes: a command line and an environment can be looked at.
        pickle.dump(source, reader.stdin)
        reader.stdin.flush()
        answer = reader.stdout.read()
    if reader.returncode or not answer:
        return _failed(f"the process that reads them ended with status {reader.returncode}")
    reading: Reading = pickle.loads(answer)  # noqa: S301 - written by `main`
    return reading


def _failed(reason: str) -> Reading:
    fault = Fault("settings", reason, "look at the limits of memory, processes and open files")
    return Reading({}, SettingsError("the settings cannot be read", faults=(fault,)))


def main() -> None:
    """Reads the source that comes on standard input, and writes what came of it to standard output."""
    # While the other one is still busy: it says later what is to be read.
    from exporter.settings.reading import read

    source: Source = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by `_end_of`
    # A file can keep its reader waiting for ever; nobody is to do so for a process that is gone.
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    sys.stdout.buffer.write(pickle.dumps(read(source)))
    sys.stdout.flush()
    # Not waiting for the thread, which holds standard input.
    os._exit(0)


def _end_with_the_other() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
