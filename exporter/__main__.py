"""`python -m exporter`, and the command `pg-index-exporter`."""

import gc
import signal
import sys


def main() -> int:
    """Run the command line; return its exit code."""
    if sys.argv[1:2] == ["serve"]:
        # A SIGHUP (reload) while the modules load would end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # What is loaded stays: looking for garbage is an eighth of the start. The service enables it again.
        gc.disable()
    try:
        from exporter import cli
    except KeyboardInterrupt:
        # Ctrl-C while the modules load.
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
