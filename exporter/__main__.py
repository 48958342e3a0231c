"""`python -m exporter`, and the command `pg-index-exporter`."""

import signal
import sys


def main() -> int:
    """The exit code of the command on the command line."""
    if sys.argv[1:2] == ["serve"]:
        # Loading takes long enough for a request to reload to fall into it, which would end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        from exporter import cli
    except KeyboardInterrupt:
        # Or a Ctrl-C.
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
