"""pilvi test: set up whatever is missing and run all tests, on SQLite or a database server, in-process or over a broker."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pilvi import clone
from pilvi.cli.place import parser
from pilvi.kernel.errors import NotFound

DATABASES = ("sqlite", "postgresql", "mariadb")
BUSES = ("local", "nats", "rabbitmq")
# what is the same whatever the clouds of the tests stand on: it needs none, or starts the servers that it is about itself
THE_SAME = (
    "tests/house", "tests/guest", "tests/drivers", "tests/soak", "tests/kernel/test_bus.py", "tests/kernel/test_bus_brokers.py",
    "tests/kernel/test_bus_own_broker.py", "tests/kernel/test_bus_cluster.py", "tests/kernel/test_database_locks.py", "tests/kernel/test_policy.py",
    "tests/kernel/test_database_move.py", "tests/wire/test_database_move.py", "tests/wire/test_hosts.py", "tests/crash/test_matrix.py",
    "tests/crash/test_outages.py", "tests/crash/test_role_loss.py", "tests/crash/test_delete_in_parts.py", "tests/compute/test_moves_logic.py",
)  # fmt: skip


def main(arguments: list[str]) -> int:
    options = parser("test", "Set up whatever is missing and run all tests; what follows -- goes to pytest.")
    options.add_argument("--quick", action="store_true", help="leave out the tests with real machines and networks")
    options.add_argument("--real", action="store_true", help="run those also on a database server or a broker, where they are left out otherwise")
    options.add_argument("--database", choices=DATABASES, default="sqlite", help="what the tests' clouds keep their rows in (default: sqlite)")
    options.add_argument("--bus", choices=BUSES, default="local", help="what carries their messages (default: local)")
    options.add_argument("rest", nargs="*", help="arguments for pytest")
    chosen = options.parse_args(arguments)
    if clone.ROOT is None:
        raise NotFound("the tests are in the source tree only; run `./pilvi test` in a clone.")
    plain = chosen.database == "sqlite" and chosen.bus == "local"
    real = not chosen.quick and (plain or chosen.real)
    _install(real=real)
    left_out = ["tests/real", *([] if plain or chosen.rest else THE_SAME)]
    with servers(chosen.database, chosen.bus) as names:
        environment = {**os.environ, **names, "PYTHONDONTWRITEBYTECODE": "1"}
        python = [sys.executable, "-m", "pytest"]
        at_once = str((os.cpu_count() or 2) + 1)  # tests also wait
        fast = subprocess.run(
            [*python, "-n", at_once, "--dist", "worksteal", *(f"--ignore={one}" for one in left_out), "-q", *chosen.rest, "tests"],
            cwd=clone.ROOT, env=environment, check=False,
        )  # fmt: skip
        if fast.returncode or not real:
            return fast.returncode
        return subprocess.run([*python, "-v", "-m", "not slow", *chosen.rest, "tests/real"], cwd=clone.ROOT, env=environment, check=False).returncode


@contextmanager
def servers(database: str, bus: str) -> Iterator[dict[str, str]]:
    """The servers that the run needs, running; answers the variables that name them to the tests."""
    names: dict[str, str] = {}
    with contextlib.ExitStack() as running:
        if database != "sqlite":
            from pilvi.kernel.testing.databases import VARIABLE
            from pilvi.kernel.testing.servers import KINDS

            names[VARIABLE] = running.enter_context(KINDS[database]()).url
        if bus != "local":
            from pilvi.kernel.testing import brokers
            from pilvi.kernel.testing.databases import BUS

            folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="pilvi-bus-")))
            names[BUS] = running.enter_context({"nats": brokers.nats, "rabbitmq": brokers.rabbitmq}[bus](folder)).url
        yield names


def _install(*, real: bool) -> None:
    """What is missing of the packages: tests of databases and buses start the servers' programs in any run."""
    from pilvi.cli.demo import GROUPS, install_packages

    install_packages((*GROUPS, "test", "servers") if real else ("servers",))
