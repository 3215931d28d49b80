"""The command `pilvi`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; what goes wrong is a sentence and an exit code, never a traceback."""
    from pilvi.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
