"""Delete wins in a cloud in parts: from every state, at once, while other processes are at work on the server, are frozen or dead."""

from __future__ import annotations

import threading
import time

from tests.crash import audit
from tests.crash.acts import SERVERS, VOLUMES
from tests.crash.matrix import FarStory
from tests.crash.parts import ONE_HOST, Parts
from tests.crash.rig import Rig
from tests.crash.scenarios import SCENARIOS
from tests.crash.test_outages import become_active, boot_with_volume, servers

# a scenario that begins some work, and the step at which its conductor sleeps while the server is deleted
HELD = [
    ("CreateServer", "choose_host"), ("CreateServer", "take_place"), ("CreateServer", "connect_volumes"), ("CreateServer", "start_machine"),
    ("CreateServer", "announce"), ("RebuildServer", "start"), ("ShelveServer", "upload"), ("AttachVolume", "plug"), ("ChangePower.stop", "change"),
]  # fmt: skip


def test_while_the_worker_sleeps(rig: Rig) -> None:
    """The one who was at it wakes when all is gone, says its verb once more, and must leave nothing behind."""
    cloud = rig.cloud(ONE_HOST)
    story = FarStory(cloud)
    by_name = {one.name: one for one in SCENARIOS}
    played = 0
    for name, step in HELD:
        scenario = by_name[name]
        if step not in {one.name for one in steps_of(name)}:
            continue
        played += 1
        scenario.before(story)  # type: ignore[arg-type]
        cloud.idle(30)
        cloud.points.freeze_at(scenario.workflow, step)
        scenario.begin(story)  # type: ignore[arg-type]
        pid = cloud.wait(cloud.points.died, within=20)
        sleeper = next(part for part in cloud.of("conductor") if part.pid == pid)
        try:
            cloud.wait(lambda part=sleeper: part.frozen, within=5)
            delete_and_see(cloud, within=30)  # some of its calls go to the sleeper, and are said again
        finally:
            sleeper.thaw()
        time.sleep(0.3)
        gone(cloud)
    assert played >= 6


def test_while_a_step_is_committed(rig: Rig) -> None:
    """What a step takes whose commit the deletion waits for is given back as well."""
    cloud = rig.cloud(ONE_HOST)
    story = FarStory(cloud)
    scenario = next(one for one in SCENARIOS if one.name == "ResizeServer")
    scenario.before(story)  # type: ignore[arg-type]
    cloud.points.freeze_at("ResizeServer", "hold", "freeze-inside")
    scenario.begin(story)  # type: ignore[arg-type]
    pid = cloud.wait(cloud.points.died, within=20)
    sleeper = next(part for part in cloud.of("conductor") if part.pid == pid)
    cloud.wait(lambda: sleeper.frozen, within=5)
    waker = threading.Timer(1.0, sleeper.thaw)
    waker.start()
    delete_and_see(cloud, within=30)
    waker.join()
    gone(cloud)


def steps_of(name: str) -> tuple[object, ...]:
    from tests.crash.scenarios import WORKFLOWS

    return WORKFLOWS[name.partition(".")[0]][1].steps  # type: ignore[return-value]


def delete_and_see(cloud: Parts, *, within: float = 10.0) -> None:
    """Delete all servers; they are gone soon."""
    for one in servers(cloud).values():
        cloud.ask("DELETE", f"{SERVERS}/{one['id']}")
    try:
        cloud.wait(lambda: not servers(cloud), within=within)
    except AssertionError:
        raise AssertionError(f"not gone within {within:g} s: {[(one.kind, one.step, one.owner, one.attempts) for one in cloud.works()]}") from None


def gone(cloud: Parts) -> None:
    """Nothing is left of servers; what people made is free, and is deleted."""
    audit.settled(cloud, within=40)
    world = cloud.world
    assert not world.machines.machines
    assert not world.machines.disks
    volumes = cloud.ask("GET", f"{VOLUMES}/volumes/detail")["volumes"]
    assert {one["status"] for one in volumes} <= {"available"}, volumes
    from tests.crash.matrix import clean

    clean(cloud)


def test_while_agents_are_dead(rig: Rig) -> None:
    """Without its host's agents a server is gone for its owner all the same; what lies on the host goes when they are back."""
    cloud = rig.cloud(ONE_HOST, PILVI_COMPUTE__DOWN_AFTER="3")
    for role in ("compute", "volume", "network"):
        boot_with_volume(cloud, "s")
        become_active(cloud, "s", within=30)
        for part in cloud.of(role):
            part.kill()
        delete_and_see(cloud, within=30)
        cloud.ready()
        gone(cloud)


def test_while_all_conductors_are_dead(rig: Rig) -> None:
    """The wish is taken, and done by the first that comes."""
    cloud = rig.cloud(ONE_HOST)
    boot_with_volume(cloud, "s")
    for part in cloud.of("conductor"):
        part.kill()
    for one in servers(cloud).values():
        cloud.ask("DELETE", f"{SERVERS}/{one['id']}")
    assert all(one["OS-EXT-STS:task_state"] == "deleting" for one in servers(cloud).values())
    cloud.ready()
    cloud.wait(lambda: not servers(cloud), within=20)
    gone(cloud)
