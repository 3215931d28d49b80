"""For every workflow: what is there before, the one request that starts it, and what must hold at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pilvi import program
from pilvi.compute.drivers.fake_world import small_disk
from pilvi.compute.operations import healing
from pilvi.kernel.service import Service
from pilvi.kernel.workflows import Workflow
from tests.crash.lives import HOST, Life, Story

SERVERS, VOLUMES, IMAGES, NETWORK = "/compute/v2.1/servers", "/volume/v3", "/image/v2/images", "/network/v2.0"
WORKFLOWS: dict[str, tuple[Service, type[Workflow]]] = {
    kind.__name__: (service, kind) for service in program.SERVICES for kind in service.workflows
}


@dataclass(frozen=True)
class Scenario:
    """A workflow's story; `way` tells several of one workflow apart."""

    workflow: str
    before: Callable[[Story], Any]
    begin: Callable[[Story], Any]
    ends: Callable[[Story], Any]
    way: str = ""

    @property
    def name(self) -> str:
        return f"{self.workflow}.{self.way}" if self.way else self.workflow


SCENARIOS: list[Scenario] = []


def scenario(workflow: str, before: Callable[[Story], Any], begin: Callable[[Story], Any], ends: Callable[[Story], Any], way: str = "") -> None:
    """Add one."""
    SCENARIOS.append(Scenario(workflow, before, begin, ends, way))


# -- finding and making ------------------------------------------------------------------------------


def nothing(story: Story) -> None:
    """Nothing is needed before."""


def find(life: Life, path: str, key: str, name: str) -> dict[str, Any]:
    """The thing of that name, {} when there is none."""
    return next((one for one in life.ask("GET", path)[key] if one["name"] == name), {})


def server(story: Story, name: str = "s") -> dict[str, Any]:
    return find(story.life, f"{SERVERS}/detail", "servers", name)


def volume(story: Story, name: str = "v") -> dict[str, Any]:
    return find(story.life, f"{VOLUMES}/volumes/detail", "volumes", name)


def image(story: Story, name: str) -> dict[str, Any]:
    return find(story.life, IMAGES, "images", name)


def port(story: Story, name: str = "p") -> dict[str, Any]:
    return find(story.life, f"{NETWORK}/ports", "ports", name)


def boot(story: Story, **more: Any) -> None:
    """Ask for the server "s" with a card on the network."""
    body = {"name": "s", "flavorRef": "1", "imageRef": story.image, "networks": [{"uuid": story.network}], **more}
    story.life.ask("POST", SERVERS, {"server": {name: value for name, value in body.items() if value is not None}})


def plain(story: Story) -> None:
    """A server with a card."""
    boot(story)
    story.life.idle()
    assert server(story)["status"] == "ACTIVE"


def make_volume(story: Story, name: str = "v", **more: Any) -> None:
    story.life.ask("POST", f"{VOLUMES}/volumes", {"volume": {"name": name, "size": 1, **more}})
    story.life.idle()
    assert volume(story, name)["status"] == "available"


def make_port(story: Story) -> None:
    story.life.ask("POST", f"{NETWORK}/ports", {"port": {"network_id": story.network, "name": "p"}})


def parts(story: Story) -> None:
    """A port and a volume for a server."""
    make_port(story)
    make_volume(story)


def boot_full(story: Story) -> None:
    """Ask for a server with a card of its own and one on a port, with a volume that is there and one to be made."""
    devices = [
        {"source_type": "image", "destination_type": "local", "uuid": story.image, "boot_index": 0},
        {"source_type": "volume", "destination_type": "volume", "uuid": volume(story)["id"], "boot_index": -1},
        {"source_type": "blank", "destination_type": "volume", "volume_size": 1, "delete_on_termination": True, "boot_index": -1},
    ]
    boot(story, networks=[{"uuid": story.network}, {"port": port(story)["id"]}], block_device_mapping_v2=devices)


def full(story: Story) -> None:
    """A server that has all that a server can have."""
    parts(story)
    boot_full(story)
    story.life.idle()
    is_full(story)


def on_volume(story: Story) -> None:
    """A server whose root disk is a volume."""
    device = {"source_type": "image", "destination_type": "volume", "uuid": story.image, "boot_index": 0, "volume_size": 1}
    boot(story, imageRef=None, block_device_mapping_v2=[device | {"delete_on_termination": True}])
    story.life.idle()
    assert server(story)["status"] == "ACTIVE", server(story)


def is_full(story: Story) -> None:
    found = server(story)
    assert found["status"] == "ACTIVE", found
    assert len(found["os-extended-volumes:volumes_attached"]) == 2
    assert sum(len(one) for one in found["addresses"].values()) == 2
    assert volume(story)["status"] == "in-use"
    assert port(story)["device_id"] == found["id"]


def act(action: str, body: Any = None) -> Callable[[Story], None]:
    """Say an action of the server."""
    return lambda story: story.life.ask("POST", f"{SERVERS}/{server(story)['id']}/action", {action: body})


def after(*steps: Callable[[Story], Any]) -> Callable[[Story], None]:
    """Each of them, with all work done in between."""

    def run(story: Story) -> None:
        for step in steps:
            step(story)
            story.life.idle()

    return run


def is_now(status: str) -> Callable[[Story], None]:
    """The server has this status."""

    def look(story: Story) -> None:
        found = server(story)
        assert found.get("status") == status, found

    return look


def volume_is(status: str, **values: Any) -> Callable[[Story], None]:
    """The volume is so."""

    def look(story: Story) -> None:
        found = volume(story)
        assert found.get("status") == status, found
        assert {name: found[name] for name in values} == values

    return look


def image_is_active(name: str) -> Callable[[Story], None]:
    def look(story: Story) -> None:
        assert image(story, name).get("status") == "active", image(story, name)

    return look


def power(story: Story) -> str:
    """What the server's machine is."""
    return story.world.machines.machines[server(story)["id"]].power


# -- compute -----------------------------------------------------------------------------------------


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


def grow(story: Story) -> None:
    story.life.ask("POST", f"{VOLUMES}/volumes/{volume(story)['id']}/action", {"os-extend": {"new_size": 3}})


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


# -- network -----------------------------------------------------------------------------------------


def change_port(story: Story) -> None:
    fixed = [{"ip_address": "10.9.0.77"}]
    story.life.ask("PUT", f"{NETWORK}/ports/{port(story)['id']}", {"port": {"fixed_ips": fixed}})


def port_changed(story: Story) -> None:
    plugged = story.world.wires[HOST].ports[port(story)["id"]]
    assert [one.address for one in plugged.fixed_ips] == ["10.9.0.77"]


def new_subnet(story: Story) -> None:
    made = story.life.ask("POST", f"{NETWORK}/networks", {"network": {"name": "other"}})["network"]["id"]
    body = {"network_id": made, "ip_version": 4, "cidr": "10.8.0.0/24", "name": "sub"}
    story.life.ask("POST", f"{NETWORK}/subnets", {"subnet": body})


def serves_dhcp(story: Story) -> None:
    network_id = find(story.life, f"{NETWORK}/networks", "networks", "other")["id"]
    assert [one.cidr for one in story.world.wires[HOST].dhcp[network_id].subnets] == ["10.8.0.0/24"]


def make_router(story: Story) -> None:
    story.life.ask("POST", f"{NETWORK}/routers", {"router": {"name": "r"}})


def router(story: Story) -> dict[str, Any]:
    return find(story.life, f"{NETWORK}/routers", "routers", "r")


def join_router(story: Story) -> None:
    subnet = story.life.ask("GET", f"{NETWORK}/subnets")["subnets"][0]["id"]
    story.life.ask("PUT", f"{NETWORK}/routers/{router(story)['id']}/add_router_interface", {"subnet_id": subnet})


def routes(story: Story) -> None:
    assert len(story.world.wires[HOST].routers[router(story)["id"]].legs) == 1


def add_rule(story: Story) -> None:
    group = find(story.life, f"{NETWORK}/security-groups", "security_groups", "default")["id"]
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": 4242, "port_range_max": 4242}
    story.life.ask("POST", f"{NETWORK}/security-group-rules", {"security_group_rule": rule})


def is_guarded(story: Story) -> None:
    assert any("4242" in repr(one) for one in story.world.wires[HOST].ports.values())


scenario("RealizePort", full, change_port, port_changed)
scenario("RealizeNetwork", nothing, new_subnet, serves_dhcp)
scenario("RealizeRouter", make_router, join_router, routes)
scenario("RealizeGroup", plain, add_rule, is_guarded)


# -- block storage -----------------------------------------------------------------------------------


def say_volume(action: str, body: Any, name: str = "v") -> Callable[[Story], None]:
    return lambda story: story.life.ask("POST", f"{VOLUMES}/volumes/{volume(story, name)['id']}/action", {action: body})


def make_snapshot(story: Story) -> None:
    story.life.ask("POST", f"{VOLUMES}/snapshots", {"snapshot": {"name": "n", "volume_id": volume(story)["id"]}})


def snapshot(story: Story) -> dict[str, Any]:
    return find(story.life, f"{VOLUMES}/snapshots", "snapshots", "n")


def with_snapshot(story: Story) -> None:
    after(make_volume, make_snapshot)(story)


def snapshot_is_available(story: Story) -> None:
    assert snapshot(story)["status"] == "available"


def make_backup(story: Story) -> None:
    story.life.ask("POST", f"{VOLUMES}/backups", {"backup": {"name": "b", "volume_id": volume(story)["id"]}})


def backup(story: Story) -> dict[str, Any]:
    return find(story.life, f"{VOLUMES}/backups/detail", "backups", "b")


def backup_is_available(story: Story) -> None:
    assert backup(story)["status"] == "available"
    volume_is("available")(story)


def restore(story: Story) -> None:
    story.life.ask("POST", f"{VOLUMES}/backups/{backup(story)['id']}/restore", {"restore": {"name": "w"}})


def is_restored(story: Story) -> None:
    assert volume(story, "w")["status"] == "available"
    backup_is_available(story)


def volume_is_gone(story: Story) -> None:
    assert not volume(story)
    assert not story.world.volumes.volumes


def delete_volume(story: Story) -> None:
    story.life.ask("DELETE", f"{VOLUMES}/volumes/{volume(story)['id']}?cascade=true")


def delete_snapshot(story: Story) -> None:
    story.life.ask("DELETE", f"{VOLUMES}/snapshots/{snapshot(story)['id']}")


def reimage(story: Story) -> None:
    say_volume("os-reimage", {"image_id": story.image})(story)


def from_image(story: Story) -> None:
    story.life.ask("POST", f"{VOLUMES}/volumes", {"volume": {"name": "v", "size": 1, "imageRef": story.image}})


def upload(story: Story) -> None:
    say_volume("os-volume_upload_image", {"image_name": "up", "disk_format": "raw", "container_format": "bare"})(story)


def is_uploaded(story: Story) -> None:
    image_is_active("up")(story)
    volume_is("available")(story)


scenario("CreateVolume", nothing, from_image, volume_is("available", bootable="true"))
scenario("DeleteVolume", with_snapshot, delete_volume, volume_is_gone)
scenario("ExtendVolume", make_volume, grow, volume_is("available", size=3))
scenario("ReimageVolume", make_volume, reimage, volume_is("available", bootable="true"))
scenario(
    "RevertVolume", with_snapshot, lambda story: say_volume("revert", {"snapshot_id": snapshot(story)["id"]})(story),
    lambda story: (volume_is("available")(story), snapshot_is_available(story)),
)  # fmt: skip
scenario("CreateSnapshot", make_volume, make_snapshot, snapshot_is_available)
scenario("DeleteSnapshot", with_snapshot, delete_snapshot, volume_is("available"))
scenario("UploadVolume", make_volume, upload, is_uploaded)
scenario("SweepCopy", make_volume, upload, is_uploaded)
scenario("CreateBackup", make_volume, make_backup, backup_is_available)
scenario(
    "DeleteBackup", after(make_volume, make_backup), lambda story: story.life.ask("DELETE", f"{VOLUMES}/backups/{backup(story)['id']}"),
    volume_is("available"),
)  # fmt: skip
scenario("RestoreBackup", after(make_volume, make_backup), restore, is_restored)


# -- image -------------------------------------------------------------------------------------------


def stage(story: Story) -> None:
    made = story.life.ask("POST", IMAGES, {"name": "i", "disk_format": "qcow2", "container_format": "bare"})["id"]
    headers = {"content-type": "application/octet-stream"}
    story.life.ask("PUT", f"{IMAGES}/{made}/stage", data=small_disk("qcow2"), headers=headers)


def import_image(story: Story) -> None:
    story.life.ask("POST", f"{IMAGES}/{image(story, 'i')['id']}/import", {"method": {"name": "glance-direct"}})


def is_imported(story: Story) -> None:
    image_is_active("i")(story)
    staged = story.folder / "image-staging"
    assert not [one for one in staged.rglob("*") if one.is_file()]


scenario("ImportImage", stage, import_image, is_imported)
