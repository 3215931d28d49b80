"""Scenarios of servers."""

from __future__ import annotations

from collections.abc import Callable

from pilvi.compute.operations import healing
from tests.crash.acts import (
    NETWORK,
    SERVERS,
    VOLUMES,
    act,
    after,
    boot,
    boot_full,
    full,
    grow,
    image,
    image_is_active,
    is_full,
    is_now,
    make_port,
    make_volume,
    nothing,
    on_volume,
    parts,
    plain,
    port,
    server,
    volume,
    volume_is,
)
from tests.crash.lives import HOST, Story
from tests.crash.scenario import scenario


def all_gone(story: Story) -> None:
    """The server is gone; what people made is there and free, what compute made is not."""
    assert not server(story)
    assert not story.world.machines.machines
    assert volume(story)["status"] == "available"
    assert len(story.life.ask("GET", f"{VOLUMES}/volumes")["volumes"]) == 1
    assert port(story)["device_id"] == ""
    owners = [one["device_owner"] for one in story.life.ask("GET", f"{NETWORK}/ports")["ports"]]
    assert sorted(owners) == ["", "network:dhcp"]


def boot_in_vain(story: Story) -> None:
    """The host fails once to start the machine."""
    story.life.break_verb("compute", "ensure_machine", "no room in the oven", times=1)
    boot(story)


def lies_about(story: Story) -> None:
    """The server says why it is in ERROR, and nothing of it lies on the host."""
    found = server(story)
    assert found["status"] == "ERROR"
    assert "no room in the oven" in found["fault"]["message"]
    assert not story.world.machines.machines
    assert not story.world.machines.disks


def wipe(story: Story) -> None:
    """The machine is gone from its host, whose agent has just arrived."""
    life = story.life
    story.world.machines.machines.clear()
    story.world.machines.disks.clear()
    healing.compare(life.program, HOST, life.program.parts["compute.driver"].observe(), arrived=True)


def is_resized(flavor: str, status: str) -> Callable[[Story], None]:
    def look(story: Story) -> None:
        found = server(story)
        assert (found["flavor"]["original_name"], found["status"]) == (flavor, status)

    return look


def attach_volume(story: Story) -> None:
    body = {"volumeAttachment": {"volumeId": volume(story)["id"]}}
    story.life.ask("POST", f"{SERVERS}/{server(story)['id']}/os-volume_attachments", body)


def detach_volume(story: Story) -> None:
    story.life.ask("DELETE", f"{SERVERS}/{server(story)['id']}/os-volume_attachments/{volume(story)['id']}")


def attach_port(story: Story) -> None:
    body = {"interfaceAttachment": {"port_id": port(story)["id"]}}
    story.life.ask("POST", f"{SERVERS}/{server(story)['id']}/os-interface", body)


def detach_port(story: Story) -> None:
    story.life.ask("DELETE", f"{SERVERS}/{server(story)['id']}/os-interface/{port(story)['id']}")


def has_cards(count: int) -> Callable[[Story], None]:
    def look(story: Story) -> None:
        assert len(story.world.machines.machines[server(story)["id"]].nics) == count
        assert (port(story)["device_id"] == server(story)["id"]) == (count == 2)

    return look


def has_grown(story: Story) -> None:
    volume_is("in-use", size=3)(story)
    assert any("has 3 GiB now" in line for line in story.world.machines.machines[server(story)["id"]].log)


def aggregate(story: Story) -> None:
    made = story.life.ask("POST", "/compute/v2.1/os-aggregates", {"aggregate": {"name": "a"}})["aggregate"]["id"]
    story.life.ask("POST", f"/compute/v2.1/os-aggregates/{made}/action", {"add_host": {"host": HOST}})


def cache(story: Story) -> None:
    made = story.life.ask("GET", "/compute/v2.1/os-aggregates")["aggregates"][0]["id"]
    story.life.ask("POST", f"/compute/v2.1/os-aggregates/{made}/images", {"cache": [{"id": story.image}]})


def is_cached(story: Story) -> None:
    assert story.image in story.world.machines.images


def kept(status: str) -> Callable[[Story], None]:
    """The server is put away, and its volume and port are still its own."""

    def look(story: Story) -> None:
        is_now(status)(story)
        assert not story.world.machines.machines
        assert volume(story)["attachments"]
        assert port(story)["device_id"] == server(story)["id"]

    return look


def back_again(story: Story) -> None:
    is_full(story)
    assert not image(story, "s-shelved")


scenario("CreateServer", parts, boot_full, is_full)
scenario("DeleteServer", full, lambda story: story.life.ask("DELETE", f"{SERVERS}/{server(story)['id']}"), all_gone)
scenario("CleanHost", nothing, boot_in_vain, lies_about)
scenario("HealServer", full, wipe, is_full)
scenario("ChangePower", full, act("os-stop"), is_now("SHUTOFF"), way="stop")
scenario("ChangePower", after(full, act("os-stop")), act("os-start"), is_full, way="start")
scenario("ChangePower", plain, act("reboot", {"type": "HARD"}), is_now("ACTIVE"), way="reboot")
scenario("ChangePower", plain, act("reboot", {"type": "SOFT"}), is_now("ACTIVE"), way="soft_reboot")
scenario("ChangePower", plain, act("suspend"), is_now("SUSPENDED"), way="suspend")
scenario("ChangePower", full, act("rescue", {}), is_now("RESCUE"), way="rescue")
scenario("RebuildServer", full, lambda story: act("rebuild", {"imageRef": story.image})(story), is_full)
scenario("ResizeServer", full, act("resize", {"flavorRef": "2"}), is_resized("m1.small", "VERIFY_RESIZE"))
scenario("ConfirmResize", after(full, act("resize", {"flavorRef": "2"})), act("confirmResize"), is_resized("m1.small", "ACTIVE"))
scenario("RevertResize", after(full, act("resize", {"flavorRef": "2"})), act("revertResize"), is_resized("m1.tiny", "ACTIVE"))
scenario("SnapshotServer", plain, act("createImage", {"name": "shot"}), image_is_active("shot"))
scenario("SnapshotVolumes", on_volume, act("createImage", {"name": "shot"}), image_is_active("shot"))
scenario("ShelveServer", full, act("shelve"), kept("SHELVED_OFFLOADED"))
scenario("OffloadServer", full, act("shelve"), kept("SHELVED_OFFLOADED"))
scenario("UnshelveServer", after(full, act("shelve")), act("unshelve"), back_again)
scenario("AttachVolume", after(plain, make_volume), attach_volume, volume_is("in-use"))
scenario("DetachVolume", full, detach_volume, volume_is("available"))
scenario("GrowDisk", full, grow, has_grown)
scenario("AttachInterface", after(plain, make_port), attach_port, has_cards(2))
scenario("DetachInterface", full, detach_port, has_cards(1))
scenario("CacheImage", aggregate, cache, is_cached)




def boot_full_in_vain(story: Story) -> None:
    """The host fails once, when all is connected."""
    story.life.break_verb("compute", "ensure_machine", "no room in the oven", times=1)
    boot_full(story)


def is_free(story: Story) -> None:
    assert server(story)["status"] == "ERROR"
    assert volume(story)["status"] == "available"
    assert not [one for one in story.world.volumes.volumes.values() if one.exports]


def snapshot_in_vain(story: Story) -> None:
    """The host fails once to take its copy away."""
    story.life.break_verb("compute", "remove_snapshot", times=1)
    act("createImage", {"name": "shot"})(story)


def lies_nowhere(story: Story) -> None:
    is_now("ACTIVE")(story)
    assert not story.world.machines.snapshots


scenario("DropSnapshot", plain, snapshot_in_vain, lies_nowhere)
scenario("CloseExport", parts, boot_full_in_vain, is_free)
