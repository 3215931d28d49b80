"""The kill matrix of a cloud in parts.  A sample by default; $MATRIX=all plays every case, $MATRIX=NAME those of one workflow.

$MATRIX_TABLE names a file for the table, $MATRIX_SEED repeats a sample, $MATRIX_SECONDS bounds it (half of them are for moves);
$MATRIX_SHARD=0/2 plays every second scenario, from the first.
"""

from __future__ import annotations

import os
import random
import time

from tests.crash import matrix
from tests.crash.parts import ONE_HOST, TWO_HOSTS, Parts, Shape
from tests.crash.rig import Rig

WHICH = os.environ.get("MATRIX", "")
SEED = int(os.environ.get("MATRIX_SEED", "0")) or random.randrange(1, 1 << 30)
SECONDS = float(os.environ.get("MATRIX_SECONDS", "40"))


def test_every_moment(rig: Rig) -> None:
    play(rig, ONE_HOST, SECONDS)


def test_every_moment_of_moves(rig: Rig) -> None:
    """Servers that go from one host to another, whose agents are processes of their own."""
    play(rig, TWO_HOSTS, SECONDS / 2)


def play(rig: Rig, shape: Shape, seconds: float) -> None:
    """The cases of scenarios for clouds of this shape."""
    shard, _, of = os.environ.get("MATRIX_SHARD", "0/1").partition("/")
    scenarios = matrix.chosen(shape, "" if WHICH == "all" else WHICH, shard=int(shard), of=int(of)) if WHICH else matrix.chosen(shape)
    if not scenarios:
        return
    cloud = rig.cloud(shape)
    table: list[matrix.Outcome] = []
    end = time.monotonic() + seconds
    for case in matrix.cases(scenarios, lambda: rig.clouds[0]) if WHICH else matrix.sample(scenarios, random.Random(SEED)):
        if not WHICH and time.monotonic() > end:
            break
        outcome = matrix.run(cloud, case)
        table.append(outcome)
        well = leaves_well(cloud, outcome)
        note(outcome)
        if not well or outcome.wrong:
            rig.end(cloud)  # something was left in it
            cloud = rig.cloud(shape)
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
