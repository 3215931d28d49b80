"""pilvi test: set up whatever is missing and run all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pilvi.cli.place import parser
from pilvi.kernel.errors import NotFound


def main(arguments: list[str]) -> int:
    options = parser("test", "Set up whatever is missing and run all tests; what follows -- goes to pytest.")
    options.add_argument("--quick", action="store_true", help="leave out the tests with real machines and networks")
    options.add_argument("rest", nargs="*", help="arguments for pytest")
    chosen = options.parse_args(arguments)
    root = Path(__file__).resolve().parents[3]
    if not (root / "tests").is_dir():
        raise NotFound("the tests are in the source tree only; run `./pilvi test` in a clone.")
    if not chosen.quick:
        from pilvi.cli.demo import GROUPS, install_packages

        install_packages((*GROUPS, "test"))
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    python = [sys.executable, "-m", "pytest"]
    fast = subprocess.run(
        [*python, "-n", str(os.cpu_count() or 2), "--dist", "worksteal", "--ignore", "tests/real", "-q", *chosen.rest, "tests"],
        cwd=root, env=environment, check=False,
    )  # fmt: skip
    if fast.returncode or chosen.quick:
        return fast.returncode
    real = subprocess.run([*python, "-v", "-m", "not slow", *chosen.rest, "tests/real"], cwd=root, env=environment, check=False)
    return real.returncode
