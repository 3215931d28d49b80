"""Users and deaths at random: a cloud of two hosts in one process, and in parts, where some messages arrive twice.

With every other seed the hosts in parts keep the disks of machines on one storage.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.parts import ALONE_WITH_TWO, TWO_HOSTS, Parts, Servers
from tests.crash.rig import Rig
from tests.soak.soak import Plan, run

OPERATIONS = int(os.environ.get("SOAK", "1000"))
ECHO = os.environ.get("SOAK_ECHO", "0.2")
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.randrange(1, 1 << 30)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Parts]:
    cloud = Parts(tmp_path / "cloud", ALONE_WITH_TWO, Servers())
    try:
        yield cloud.start()
    finally:
        cloud.close()


def test_in_one_process(alone: Parts) -> None:
    plan = Plan(OPERATIONS, SEED)
    print(f"SOAK_SEED={SEED}")
    run(alone, plan)
    print(*plan.report, sep="\n")


def test_in_parts(tmp_path: Path) -> None:
    plan = Plan(OPERATIONS, SEED, kill_every=1.0)
    print(f"SOAK_SEED={SEED}")
    rig = Rig(tmp_path)
    try:
        run(rig.cloud(TWO_HOSTS, furnish=False, CRASH_LEASE="5", CRASH_ECHO=ECHO, CRASH_STORAGE="one" if SEED % 2 else ""), plan)
    finally:
        rig.close()
    print(f"{rig}: ", *plan.report, sep="")
