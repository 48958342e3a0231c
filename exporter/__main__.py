"""`python -m exporter`: the same as the command `pg-index-exporter`."""

import sys

try:
    from exporter.cli import main
except KeyboardInterrupt:
    # Loading takes long enough for a Ctrl-C to fall into it.
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
