"""Draining a host: its servers move away, running or off, and those that cannot say why."""

from __future__ import annotations

from typing import Any

import pytest

from pilvi import compute
from pilvi.kernel.errors import NotFound
from tests.compute.conftest import SERVERS, Nova
from tests.compute.hosts import Host, add_host, host_of, migrations, row


def drain(nova: Nova, host: str) -> None:
    program = nova.cloud.program
    program.db.run(lambda tx: compute.drain(program.system_context(tx), host))


def seen(nova: Nova, host: str = "node1") -> dict[str, tuple[str, str, str]]:
    """Name of each server -> its state, where it goes, why not."""
    told = nova.cloud.program.db.run(lambda tx: compute.draining(tx, host), write=False)
    return {one.name: (one.state, one.to, one.why) for one in told}


def some(nova: Nova, *names: str, **more: Any) -> list[str]:
    image = nova.image()
    return [nova.boot(name=name, imageRef=image, person="admin", host="node1", **more) for name in names]


def test_all_leave_running_or_off(nova: Nova, other: Host) -> None:
    on, off, paused = some(nova, "on", "off", "paused")
    nova.act(off, "os-stop")
    nova.until(off, "SHUTOFF")
    nova.act(paused, "pause")
    nova.until(paused, "PAUSED")
    memory = nova.machines[on].memory
    drain(nova, "node1")
    nova.idle()
    assert seen(nova) == dict.fromkeys(("on", "off", "paused"), ("gone", "node2", ""))
    assert (nova.machines, set(other.machines)) == ({}, {on, off, paused})
    assert [nova.show(ref)["status"] for ref in (on, off, paused)] == ["ACTIVE", "SHUTOFF", "PAUSED"]
    assert other.machines[on].memory == memory
    assert migrations(nova, off) == [("migration", "confirmed")]
    host = row(nova, "node1")
    assert host is not None
    assert (host.disabled, host.disabled_reason) == (True, "being drained")
    made = nova.boot()
    assert host_of(nova, made) == "node2"


def test_those_that_cannot_go_say_why(nova: Nova, other: Host) -> None:
    image = nova.image()
    nova.boot(name="small", imageRef=image, person="admin", host="node1")
    asleep = nova.boot(name="asleep", imageRef=image, person="admin", host="node1")
    nova.act(asleep, "suspend")
    nova.until(asleep, "SUSPENDED")
    volume = nova.volume()
    disks = [
        {"boot_index": 0, "uuid": image, "source_type": "image", "destination_type": "local"},
        {"uuid": volume, "source_type": "volume", "destination_type": "volume"},
    ]
    nova.boot(name="pinned", imageRef=image, person="admin", host="node1", block_device_mapping_v2=disks)
    nova.cloud.program.parts["block_storage.driver"].shared = False
    nova.cloud.program.parts["block_storage.agent"].beat()
    drain(nova, "node1")
    nova.idle()
    told = seen(nova)
    assert told["small"] == ("gone", "node2", "")
    assert told["asleep"][::2] == ("stays", "it is suspended: its memory lies on this host; resume it")
    assert told["pinned"][0] == "stays"
    assert f"volume {volume} lies in a back end of node1 that no other host reaches" in told["pinned"][2]
    nova.act(asleep, "resume")
    nova.until(asleep, "ACTIVE")
    drain(nova, "node1")
    nova.idle()
    assert host_of(nova, asleep) == "node2"
    assert seen(nova)["pinned"][0] == "stays"


def test_a_few_at_a_time(make_nova: Any) -> None:
    nova = make_nova(compute={"drain_at_once": 2})
    other = add_host(nova, "node2")
    some(nova, "a", "b", "c")
    nova.driver.world.hold_moves = True
    drain(nova, "node1")
    nova.wait(lambda: len(nova.driver.world.moving) == 2)
    states = sorted(one[0] for one in seen(nova).values())
    assert states == ["going", "going", "waits"]
    nova.driver.world.hold_moves = False
    nova.wait(lambda: not nova.machines, within=20)
    nova.idle()
    assert {one[0] for one in seen(nova).values()} == {"gone"}
    other.stop()


def test_a_move_that_fails_is_told_and_tried_at_the_next_asking(nova: Nova, other: Host) -> None:
    (ref,) = some(nova, "one")
    nova.driver.faults.fail("migrate", "the road is closed", times=1)
    drain(nova, "node1")
    nova.idle()
    assert seen(nova)["one"][::2] == ("stays", "the road is closed")
    drain(nova, "node1")
    nova.idle()
    assert host_of(nova, ref) == "node2"


def test_an_operator_may_change_their_mind(nova: Nova, other: Host) -> None:
    refs = some(nova, "a", "b", "c", "d")
    nova.driver.world.hold_moves = True
    drain(nova, "node1")
    nova.wait(lambda: len(nova.driver.world.moving) == 2)
    (service,) = nova.get("/compute/v2.1/os-services", person="admin", binary="nova-compute", host="node1").json()["services"]
    nova.put(f"/compute/v2.1/os-services/{service['id']}", {"status": "enabled"}, person="admin")
    nova.driver.world.hold_moves = False
    nova.idle()
    assert sorted(host_of(nova, ref) for ref in refs) == ["node1", "node1", "node2", "node2"]


def test_where_there_is_no_other_host(nova: Nova) -> None:
    some(nova, "one")
    drain(nova, "node1")
    nova.idle()
    assert "node1 is the only compute host" in seen(nova)["one"][2]
    with pytest.raises(NotFound, match="nowhere"):
        drain(nova, "nowhere")


def test_a_server_deleted_on_its_way_is_not_told_of(nova: Nova, other: Host) -> None:
    (ref,) = some(nova, "one")
    nova.driver.world.hold_moves = True
    drain(nova, "node1")
    nova.wait(lambda: nova.driver.world.moving)
    nova.delete(f"{SERVERS}/{ref}", person="admin")
    nova.gone(ref)
    nova.idle()
    assert seen(nova) == {}


def test_why_a_server_could_or_could_not_move(nova: Nova, other: Host) -> None:
    (ref,) = some(nova, "one")

    def why() -> dict[str, Any]:
        return nova.cloud.program.db.run(lambda tx: compute.why_move(nova.cloud.program, tx, "one"), write=False)

    told = why()
    assert told["move"] == "live-migration"
    assert {one["host"]: one["verdict"] for one in told["hosts"]} == {"node1": "refused by MoveFilter", "node2": "would do"}
    drain(nova, "node2")
    nova.idle()
    hosts = {one["host"]: one["sentence"] for one in why()["hosts"]}
    assert hosts == {"node1": "the server is on this host", "node2": "the host is disabled: being drained"}
    assert host_of(nova, ref) == "node1"
