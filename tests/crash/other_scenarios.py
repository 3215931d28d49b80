"""Scenarios of networks, volumes, groups and images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilvi.compute.drivers.fake_world import small_disk
from tests.crash.acts import (
    IMAGES,
    NETWORK,
    VOLUMES,
    after,
    find,
    full,
    grow,
    image,
    image_is_active,
    make_volume,
    nothing,
    plain,
    port,
    volume,
    volume_is,
)
from tests.crash.lives import HOST, Story
from tests.crash.scenario import scenario


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


# -- groups ------------------------------------------------------------------------------------------


def group(story: Story, name: str = "g") -> dict[str, Any]:
    return find(story.life, f"{VOLUMES}/groups/detail", "groups", name)


def group_snapshot(story: Story) -> dict[str, Any]:
    return find(story.life, f"{VOLUMES}/group_snapshots/detail", "group_snapshots", "gs")


def make_group(story: Story) -> None:
    """A group with the volume in it."""
    kind = story.life.ask("POST", f"{VOLUMES}/group_types", {"group_type": {"name": "kind"}})["group_type"]["id"]
    body = {"name": "g", "group_type": kind, "volume_types": ["__DEFAULT__"]}
    made = story.life.ask("POST", f"{VOLUMES}/groups", {"group": body})["group"]["id"]
    make_volume(story, group_id=made, volume_type="__DEFAULT__")


def copy_group(story: Story) -> None:
    story.life.ask("POST", f"{VOLUMES}/groups/action", {"create-from-src": {"name": "h", "source_group_id": group(story)["id"]}})


def group_is_copied(story: Story) -> None:
    assert group(story, "h")["status"] == "available"
    assert len(story.life.ask("GET", f"{VOLUMES}/volumes")["volumes"]) == 2


def delete_group(story: Story) -> None:
    story.life.ask("POST", f"{VOLUMES}/groups/{group(story)['id']}/action", {"delete": {"delete-volumes": True}})


def group_is_gone(story: Story) -> None:
    assert not group(story)
    volume_is_gone(story)


def snapshot_group(story: Story) -> None:
    story.life.ask("POST", f"{VOLUMES}/group_snapshots", {"group_snapshot": {"name": "gs", "group_id": group(story)["id"]}})


def group_is_snapped(story: Story) -> None:
    assert group_snapshot(story)["status"] == "available"


def delete_group_snapshot(story: Story) -> None:
    story.life.ask("DELETE", f"{VOLUMES}/group_snapshots/{group_snapshot(story)['id']}")


def nothing_is_snapped(story: Story) -> None:
    assert not group_snapshot(story)
    assert not story.life.ask("GET", f"{VOLUMES}/snapshots")["snapshots"]


scenario("FillGroup", make_group, copy_group, group_is_copied)
scenario("EmptyGroup", make_group, delete_group, group_is_gone)
scenario("FillGroupSnapshot", make_group, snapshot_group, group_is_snapped)
scenario("EmptyGroupSnapshot", after(make_group, snapshot_group), delete_group_snapshot, nothing_is_snapped)
