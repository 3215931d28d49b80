"""The kill matrix of a cloud in parts.  A sample by default; $MATRIX=all plays every case, $MATRIX=NAME those of one workflow.

$MATRIX_TABLE names a file for the table, $MATRIX_SEED repeats a sample, $MATRIX_SECONDS bounds it; $MATRIX_SHARD=0/2 plays every second
scenario, from the first.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from tests.crash import matrix
from tests.crash.parts import ONE_HOST, Parts
from tests.crash.rig import Rig

WHICH = os.environ.get("MATRIX", "")
SEED = int(os.environ.get("MATRIX_SEED", "0")) or random.randrange(1, 1 << 30)
SECONDS = float(os.environ.get("MATRIX_SECONDS", "40"))


def test_every_moment(rig: Rig, tmp_path: Path) -> None:
    cloud = rig.cloud(ONE_HOST)
    table: list[matrix.Outcome] = []
    end = time.monotonic() + SECONDS
    shard, _, of = os.environ.get("MATRIX_SHARD", "0/1").partition("/")
    which = "" if WHICH == "all" else WHICH
    chosen = matrix.cases(lambda: rig.clouds[0], which, shard=int(shard), of=int(of)) if WHICH else matrix.sample(random.Random(SEED))
    for case in chosen:
        if not WHICH and time.monotonic() > end:
            break
        outcome = matrix.run(cloud, case)
        table.append(outcome)
        well = leaves_well(cloud, outcome)
        note(outcome)
        if not well or outcome.wrong:
            cloud = another(rig, cloud)
    wrong = [str(one) for one in table if one.wrong]
    print(f"seed {SEED}, {len(table)} cases, {len([one for one in table if one.took_part])} deaths, {len(wrong)} wrong; {rig}")
    assert not wrong, "\n".join([f"MATRIX_SEED={SEED}", *wrong])


def note(outcome: matrix.Outcome) -> None:
    """A line of the table, at once: a full run takes long."""
    print(outcome, flush=True)
    if place := os.environ.get("MATRIX_TABLE"):
        with open(place, "a", encoding="utf-8") as file:
            file.write(f"{outcome}\n")


def leaves_well(cloud: Parts, outcome: matrix.Outcome) -> bool:
    """Clean up; False when the cloud is of no more use."""
    try:
        matrix.clean(cloud)
    except AssertionError as error:
        outcome.wrong = outcome.wrong or f"cannot be cleaned: {error}"
        return False
    return True


def another(rig: Rig, cloud: Parts) -> Parts:
    """A fresh cloud in place of one that something was left in."""
    rig.end(cloud)
    return rig.cloud(ONE_HOST)
