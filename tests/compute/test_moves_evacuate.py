"""Evacuation: a server whose host is down is brought up on another; the host that returns gives up what is not its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compute.conftest import SERVERS, Nova
from tests.compute.hosts import Host, add_host, force_down, host_of, last_action, migrations, row, server_row
from tests.compute.moved import claims_of, exports, nothing_is_left


def on_node2(nova: Nova, **more: Any) -> tuple[str, str]:
    """A server on node2 with a card and a volume of node1's back end, and the volume."""
    volume, image = nova.volume(), nova.image()
    disks = [
        {"boot_index": 0, "uuid": image, "source_type": "image", "destination_type": "local"},
        {"uuid": volume, "source_type": "volume", "destination_type": "volume"},
    ]
    ref = nova.boot(imageRef=image, networks=[{"uuid": nova.network()}], block_device_mapping_v2=disks, person="admin", host="node2", **more)
    return ref, volume


def evacuate(nova: Nova, ref: str, body: Any = None, *, answers: int = 200, version: str = "compute 2.94") -> Any:
    return nova.act(ref, "evacuate", body or {}, answers=answers, person="admin", version=version)


def test_a_host_that_lives_keeps_its_servers(nova: Nova, other: Host) -> None:
    ref, _ = on_node2(nova)
    told = evacuate(nova, ref, answers=400).json()["badRequest"]["message"]
    assert "Compute service of node2 is still in use" in told
    force_down(nova, "node2")
    assert evacuate(nova, ref, {"host": "node2"}, answers=400).json()["badRequest"]["message"] == "The target host can't be the same one."
    evacuate(nova, ref, {"host": "nowhere"}, answers=404)
    nova.act(ref, "evacuate", {}, answers=403)
    assert migrations(nova, ref) == []


@pytest.mark.parametrize("body", [{}, {"host": "node1"}, {"host": "node1", "adminPass": "sesame"}])
def test_it_comes_up_elsewhere_with_all_that_does_not_lie_on_the_dead_host(nova: Nova, other: Host, body: Any) -> None:
    ref, volume = on_node2(nova)
    was = nova.show(ref)
    other.stop()
    force_down(nova, "node2")
    assert evacuate(nova, ref, body).content == b""
    shown = nova.until(ref, "ACTIVE")
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["addresses"]) == ("node1", was["addresses"])
    assert migrations(nova, ref) == [("evacuation", "done")]
    assert nova.machines[ref].power == "running"
    assert nova.volume_status(volume) == "in-use"
    nova.wait(lambda: exports(nova, volume) == ["node1"])
    (port,) = nova.ports()
    assert (port["binding:host_id"], port["status"]) == ("node1", "ACTIVE")
    assert claims_of(nova) == {ref: {"node1"}}
    assert last_action(nova, ref, "evacuate")["events"][0]["result"] == "Success"
    assert list(other.machines) == [ref], "nobody has reached the dead host"


def test_the_dead_host_returns_and_gives_up_what_is_not_its_own(nova: Nova, other: Host) -> None:
    ref, _ = on_node2(nova)
    kept = nova.boot(person="admin", host="node2")
    other.stop()
    force_down(nova, "node2")
    evacuate(nova, ref)
    nova.until(ref, "ACTIVE")
    since = other.machines[kept].since
    stranger = other.machines[kept]
    other.world.machines["00000000-0000-0000-0000-00000000000f"] = stranger  # of nobody that this cloud knows
    other.start()
    force_down(nova, "node2", False)
    nova.wait(lambda: ref not in other.machines and ref not in other.world.disks)
    nova.idle()
    assert other.machines[kept].since == since, "what is its own is not touched"
    assert "00000000-0000-0000-0000-00000000000f" in other.machines, "nor what nobody can tell whose it is"
    nova.wait(lambda: not set(other.wires.ports))
    assert nova.machines[ref].power == "running"


def test_a_machine_that_comes_to_light_later_is_removed(nova: Nova, other: Host) -> None:
    ref, _ = on_node2(nova)
    left = other.machines[ref]
    nova.act(ref, "os-migrateLive", {"host": None, "block_migration": "auto"}, person="admin")
    nova.wait(lambda: host_of(nova, ref) == "node1")
    nova.idle()
    other.world.machines[ref] = left  # as from a disk that was put back
    nova.wait(lambda: ref not in other.machines)
    nova.idle()
    assert nova.machines[ref].power == "running"


def test_a_server_that_waits_for_a_word_keeps_both_its_machines(nova: Nova, other: Host) -> None:
    ref, _ = on_node2(nova)
    nova.act(ref, "migrate", person="admin")
    nova.until(ref, "VERIFY_RESIZE")
    nova.idle()
    told = len(other.driver.faults.told)
    nova.wait(lambda: len([one for one in other.driver.faults.told[told:] if one[0] == "observe"]) > 3)
    nova.idle()
    assert other.machines[ref].power == "shutoff"


@pytest.mark.parametrize(("version", "was", "status"), [("2.94", "ACTIVE", "ACTIVE"), ("2.94", "SHUTOFF", "SHUTOFF"), ("2.95", "ACTIVE", "SHUTOFF")])
def test_in_which_state_it_comes_up(nova: Nova, other: Host, version: str, was: str, status: str) -> None:
    ref, _ = on_node2(nova)
    if was == "SHUTOFF":
        nova.act(ref, "os-stop")
        nova.until(ref, "SHUTOFF")
    force_down(nova, "node2")
    evacuate(nova, ref, version=f"compute {version}")
    nova.wait(lambda: host_of(nova, ref) == "node1")
    nova.until(ref, status)
    assert nova.machines[ref].power == ("running" if status == "ACTIVE" else "shutoff")
    nova.idle()
    assert not other.machines, "its agent lives, though it was said to be down: it is cleaned at once"


@pytest.mark.parametrize(
    ("version", "body", "answers"),
    [
        ("2.1", {"onSharedStorage": False}, 200), ("2.13", {"onSharedStorage": "False", "adminPass": "sesame"}, 200), ("2.1", {}, 400),
        ("2.13", {"onSharedStorage": True, "adminPass": "sesame"}, 400), ("2.14", {"onSharedStorage": False}, 400),
        ("2.28", {"force": True, "host": "node1"}, 400), ("2.29", {"force": True, "host": "node1"}, 200), ("2.67", {"force": True}, 400),
        ("2.68", {"force": True, "host": "node1"}, 400),
    ],
)  # fmt: skip
def test_the_request_in_each_version(nova: Nova, other: Host, version: str, body: Any, answers: int) -> None:
    ref = nova.boot(person="admin", host="node2")
    force_down(nova, "node2")
    told = evacuate(nova, ref, body, answers=answers, version=f"compute {version}")
    if answers == 200:
        if version in ("2.1", "2.13"):
            assert told.json()["adminPass"] == body.get("adminPass", told.json()["adminPass"])
        else:
            assert told.content == b""
        nova.wait(lambda: host_of(nova, ref) == "node1")
    nova.until(ref, "ACTIVE")


def test_a_server_in_error_or_stuck_work_is_evacuated(nova: Nova, other: Host) -> None:
    ref, _ = on_node2(nova)
    other.stop()
    nova.act(ref, "reboot", {"type": "HARD"})  # waits for a host that does not answer
    nova.wait(lambda: nova.show(ref)["status"] == "HARD_REBOOT")
    force_down(nova, "node2")
    evacuate(nova, ref)
    nova.wait(lambda: host_of(nova, ref) == "node1")
    nova.until(ref, "ACTIVE")
    assert nova.machines[ref].power == "running"


def test_what_was_being_detached_when_the_host_died_is_settled(nova: Nova, other: Host) -> None:
    ref, volume = on_node2(nova)
    other.stop()
    (port,) = nova.ports()
    assert nova.cloud.delete(f"/network/v2.0/ports/{port['id']}").status == 204  # its card waits for a host that does not answer
    assert nova.delete(f"{SERVERS}/{ref}/os-volume_attachments/{volume}").status == 202
    assert nova.volume_status(volume) == "detaching"
    force_down(nova, "node2")
    evacuate(nova, ref)
    nova.wait(lambda: host_of(nova, ref) == "node1")
    assert nova.until(ref, "ACTIVE")["addresses"] == {}
    assert (nova.machines[ref].power, nova.machines[ref].wish.nics) == ("running", [])
    assert nova.volume_status(volume) == "in-use"
    assert nova.delete(f"{SERVERS}/{ref}/os-volume_attachments/{volume}").status == 202
    nova.wait(lambda: nova.volume_status(volume) == "available")


def test_a_live_migration_from_a_host_that_dies_gives_way(nova: Nova, other: Host) -> None:
    ref, volume = on_node2(nova)
    other.world.hold_moves = True
    third = add_host(nova, "node3")
    nova.act(ref, "os-migrateLive", {"host": "node3", "block_migration": "auto"}, person="admin")
    nova.wait(lambda: ("migrate", ref) in other.driver.faults.told)
    other.stop()
    force_down(nova, "node2")
    evacuate(nova, ref, {"host": "node1"})
    nova.wait(lambda: host_of(nova, ref) == "node1")
    nova.until(ref, "ACTIVE")
    assert migrations(nova, ref) == [("evacuation", "done"), ("live-migration", "error")]
    assert claims_of(nova) == {ref: {"node1"}}
    nova.wait(lambda: not third.world.disks and not third.world.arrivals)
    nova.wait(lambda: exports(nova, volume) == ["node1"])
    third.stop()


def test_an_evacuation_that_fails_can_be_tried_again(nova: Nova, other: Host) -> None:
    ref, volume = on_node2(nova)
    other.stop()
    force_down(nova, "node2")
    nova.driver.faults.fail("ensure_machine", "no room in the oven", times=1)
    evacuate(nova, ref)
    nova.wait(lambda: migrations(nova, ref) == [("evacuation", "error")])
    shown = nova.until(ref, "ACTIVE")
    assert shown["OS-EXT-SRV-ATTR:host"] == "node2"
    assert last_action(nova, ref, "evacuate")["events"][0]["details"] == "no room in the oven"
    nova.wait(lambda: not nova.machines and not nova.driver.world.disks)
    assert claims_of(nova) == {ref: {"node2"}}
    evacuate(nova, ref)
    nova.wait(lambda: host_of(nova, ref) == "node1")
    nova.until(ref, "ACTIVE")
    nova.wait(lambda: exports(nova, volume) == ["node1"])


def test_a_volume_of_the_dead_hosts_own_back_end_keeps_the_server_there(nova: Nova, other: Host) -> None:
    from pilvi.block_storage.tables.hosts import ServiceHost
    from pilvi.kernel import clock

    ref, volume = on_node2(nova)
    other.stop()
    force_down(nova, "node2")
    nova.cloud.program.db.run(lambda tx: tx.update(ServiceHost, ServiceHost.c.binary == "cinder-volume", beat_at=clock.now() - 1000))
    told = evacuate(nova, ref, answers=400).json()["badRequest"]["message"]
    assert f"node1: volume {volume} cannot be reached: its back end node1@fake#fake is down" in told


def test_deleted_after_its_evacuation_nothing_of_it_is_left_when_the_host_returns(nova: Nova, other: Host) -> None:
    ref, volume = on_node2(nova)
    other.stop()
    force_down(nova, "node2")
    evacuate(nova, ref)
    nova.until(ref, "ACTIVE")
    assert nova.delete(f"{SERVERS}/{ref}", person="admin").status == 204
    nova.gone(ref)
    other.start()
    force_down(nova, "node2", False)
    nova.wait(lambda: not other.machines)
    nothing_is_left(nova, volume)


def test_delete_wins_over_an_evacuation(nova: Nova, other: Host) -> None:
    ref, volume = on_node2(nova)
    force_down(nova, "node2")
    nova.driver.faults.slow("ensure_disks", 0.7)
    evacuate(nova, ref)
    nova.wait(lambda: ("ensure_disks", ref) in nova.driver.faults.told)
    assert nova.delete(f"{SERVERS}/{ref}", person="admin").status == 204
    nova.gone(ref)
    force_down(nova, "node2", False)
    nova.wait(lambda: not other.machines)
    nothing_is_left(nova, volume)


def test_a_server_on_a_volume_keeps_its_data(nova: Nova, other: Host) -> None:
    root = {"source_type": "image", "destination_type": "volume", "uuid": nova.image(), "boot_index": 0, "volume_size": 1}
    ref = nova.boot(imageRef=None, block_device_mapping_v2=[root], person="admin", host="node2", networks="none")
    (volume,) = [one["id"] for one in nova.show(ref)["os-extended-volumes:volumes_attached"]]
    content = nova.cloud.program.parts["block_storage.driver"].world.volumes[volume].content
    force_down(nova, "node2")
    evacuate(nova, ref)
    nova.wait(lambda: host_of(nova, ref) == "node1")
    nova.until(ref, "ACTIVE")
    assert nova.cloud.program.parts["block_storage.driver"].world.volumes[volume].content == content
    assert server_row(nova, ref).image_id == ""
    assert row(nova, "node2") is not None
