"""Durable workflows: killed before and after every step, said twice, pre-empted, failed; each ends where it should."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pilvi.kernel import clock, trace
from pilvi.kernel.db import Database
from pilvi.kernel.orders import StaleOrder, fence_of
from pilvi.kernel.testing.cloud import Cloud
from pilvi.kernel.trace import Span
from pilvi.kernel.workflows.store import Store, Work
from tests.kernel import things
from tests.kernel.things import TROUBLE, WORLD, Thing


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def start(cloud: Cloud, name: str = "a") -> str:
    return cloud.post("/things/v1/things", {"thing": {"name": name}}).json()["thing"]["id"]


def state(cloud: Cloud, thing_id: str) -> str | None:
    with cloud.program.db.transaction(write=False) as tx:
        thing = tx.get(Thing, thing_id)
    return thing.state if thing else None


def left(cloud: Cloud) -> int:
    with cloud.program.db.transaction(write=False) as tx:
        return tx.count(Work)


def test_a_workflow_runs_to_its_end_and_leaves_its_trace(cloud: Cloud) -> None:
    thing = start(cloud)
    cloud.wait(lambda: left(cloud) == 0)
    assert state(cloud, thing) == "ready"
    assert WORLD[thing] == 2  # once, and once more after Back
    with cloud.program.db.transaction(write=False) as tx:
        numbers = [span.number for span in tx.all(Span, Span.c.subject == thing, order=[Span.c.id])]
    assert numbers == ["4-5", "8", "8", "9"]


def test_traces_are_forgotten_when_they_are_old(cloud: Cloud) -> None:
    start(cloud)
    cloud.wait(lambda: left(cloud) == 0)
    moment = clock.now()

    def spans() -> int:
        with cloud.program.db.transaction(write=False) as tx:
            return tx.count(Span)

    before = moment - cloud.program.settings.traces_kept
    old = Span(subject="long ago", request_id="req-1", number="1", name="A step", started_at=before - 60, seconds=1.0)
    cloud.program.db.run(lambda tx: tx.insert_all([old] * 600))
    assert spans() == 604
    trace.forget(cloud.program)
    assert spans() == 4


def test_a_failing_effect_ends_in_failed(cloud: Cloud) -> None:
    TROUBLE["bad"] = "the disk is full"
    thing = start(cloud, "bad")
    cloud.wait(lambda: left(cloud) == 0)
    assert state(cloud, thing) == "error: the disk is full"


def test_delete_preempts(cloud: Cloud) -> None:
    going, hold = threading.Event(), threading.Event()

    def slow(kind: str, step: str, when: str) -> None:
        if (kind, step, when) == ("MakeThing", "wait", "before"):
            going.set()
            hold.wait(5)

    cloud.program.crash_hook = slow
    thing = start(cloud)
    assert going.wait(5)
    assert cloud.delete(f"/things/v1/things/{thing}").status == 204
    cloud.wait(lambda: state(cloud, thing) is None)
    hold.set()
    cloud.wait(lambda: left(cloud) == 0)
    assert state(cloud, thing) is None
    assert thing not in WORLD


def test_a_lease_begins_when_it_is_had(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who began to serve while the conductor waited for its turn to write refuses what was leased before."""
    run, had = cloud.program.db.run, []

    def late(work: Any, **options: Any) -> Any:
        if work.__qualname__ == "Store.lease.<locals>.take":
            time.sleep(0.02)
            had.append(clock.now())
            taken = run(work, **options)
            assert all(one.fence >= fence_of(had[-1]) for one in taken)
            return taken
        return run(work, **options)

    monkeypatch.setattr(cloud.program.db, "run", late)
    thing = start(cloud)
    cloud.wait(lambda: left(cloud) == 0)
    assert had
    assert state(cloud, thing) == "ready"


def test_what_was_pre_empted_in_the_midst_of_an_effect_writes_nothing(cloud: Cloud) -> None:
    going, hold, told = threading.Event(), threading.Event(), []

    def write(name: str) -> None:
        thing = Thing(id=name, project_id="", name=name, state="written by the way")
        told.append(cloud.program.workflows.write(lambda tx: tx.insert(thing).id))

    def slow(kind: str, step: str, when: str) -> None:
        if (kind, step, when) == ("MakeThing", "wait", "before"):
            write("held")
            going.set()
            hold.wait(5)
            try:
                write("taken away")
            except StaleOrder as error:
                told.append(error.message)

    cloud.program.crash_hook = slow
    thing = start(cloud)
    assert going.wait(5)
    assert cloud.delete(f"/things/v1/things/{thing}").status == 204
    cloud.wait(lambda: state(cloud, thing) is None)
    hold.set()
    cloud.wait(lambda: len(told) == 2)
    assert told == ["held", StaleOrder().message]
    assert state(cloud, "held") == "written by the way"
    assert state(cloud, "taken away") is None


STEPS = [(step.name, when) for step in things.MakeThing.steps for when in ("before", "after")]


@pytest.mark.parametrize(("step", "when"), STEPS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_killed_at_any_point_it_ends_all_the_same(tmp_path: Path, step: str, when: str) -> None:
    WORLD.clear()
    first = Cloud(tmp_path, [things.SERVICE], things.Settings).start()
    died = threading.Event()

    def die(kind: str, name: str, moment: str) -> None:
        if died.is_set():
            raise Killed
        if (name, moment) == (step, when):
            died.set()
            raise Killed

    first.program.crash_hook = die
    thing = start(first)
    assert died.wait(5)
    first.program.workflows.lease = lambda owner, most: []  # the dead take up nothing more
    time.sleep(0.02)
    second = Cloud(tmp_path, [things.SERVICE], things.Settings).start()  # the first is left as dead processes are
    second.wait(lambda: left(second) == 0)
    assert state(second, thing) == "ready"
    with second.program.db.transaction(write=False) as tx:
        row = tx.get(Thing, thing)
    assert row is not None
    assert row.weight == 1  # the last transaction was done exactly once
    second.stop()
    first.stop()


def test_one_at_a_time_for_each_subject_in_order(cloud: Cloud) -> None:
    seen: list[tuple[str, str]] = []
    cloud.program.crash_hook = lambda kind, step, when: seen.append((kind, step)) if when == "before" else None
    thing = start(cloud)
    with cloud.program.db.transaction() as tx:
        ctx = cloud.program.system_context(tx)
        cloud.program.workflows.start(ctx, things.MakeThing(thing_id=thing, tries=9))
    cloud.wait(lambda: left(cloud) == 0)
    steps = [step for _, step in seen]
    assert steps.index("close") < len(steps) - 1
    assert steps.count("close") == 2
    assert steps[-1] == "close"
    first_end = steps.index("close")
    assert "touch" in steps[first_end + 1 :]


def test_work_that_stands_behind_another_of_its_subject_does_not_keep_the_dispatcher_awake(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/work.db")
    database.create_tables()
    store, now = Store(database), clock.now()
    with database.transaction() as tx:
        tx.insert(Work(kind="Make", subject="a", state="{}", wake_at=now, lease_until=now + 30))
        tx.insert(Work(kind="Make", subject="a", state="{}", wake_at=now))
    with database.transaction(write=False) as tx:
        assert store.next_due(tx) == pytest.approx(now + 30)
    database.close()
