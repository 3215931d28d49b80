"""Attachments: by the attachments API, by the older actions, and by the door that compute uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi import block_storage
from pilvi.kernel.errors import Conflict, Invalid
from pilvi.kernel.ids import new_id
from pilvi.kernel.testing import people
from pilvi.kernel.testing.cloud import Cloud
from tests.block_storage.conftest import backend, gone, show, wait_for
from tests.block_storage.test_volumes import VOLUMES, act

Make = Callable[..., dict[str, Any]]
V = "volume 3.71"
ATTACHMENTS = "/volume/v3/attachments"
CONNECTOR = {"host": "node1", "initiator": "iqn.x"}


def test_reserve_connect_complete_delete(cloud: Cloud, make: Make) -> None:
    volume = make()
    server = new_id()
    made = cloud.post(ATTACHMENTS, {"attachment": {"volume_uuid": volume["id"], "instance_uuid": server}}, version=V)
    assert made.status == 200, made
    ref = made.json()["attachment"]["id"]
    assert made.json()["attachment"]["status"] == "reserved"
    assert show(cloud, "volumes", volume["id"])["status"] == "reserved"
    assert cloud.post(f"{ATTACHMENTS}/{ref}/action", {"os-complete": {}}, version=V).status == 400

    told = cloud.put(f"{ATTACHMENTS}/{ref}", {"attachment": {"connector": CONNECTOR}}, version=V).json()["attachment"]
    assert (told["status"], told["connection_info"]["driver_volume_type"], told["connection_info"]["export"]) == ("attaching", "nbd", ref)
    assert backend(cloud).world.volumes[volume["id"]].exports == {ref: "node1"}
    assert cloud.post(f"{ATTACHMENTS}/{ref}/action", {"os-complete": {}}, version=V).status == 204
    seen = show(cloud, "volumes", volume["id"])
    assert seen["status"] == "in-use"
    assert [(one["server_id"], one["attachment_id"], one["host_name"]) for one in seen["attachments"]] == [(server, ref, "node1")]
    assert cloud.get(ATTACHMENTS, version=V, instance_id=server).json()["attachments"][0]["id"] == ref
    assert cloud.delete(f"{VOLUMES}/{volume['id']}").status == 400

    assert cloud.delete(f"{ATTACHMENTS}/{ref}", version=V).json() == {"attachments": []}
    assert show(cloud, "volumes", volume["id"])["status"] == "available"
    assert backend(cloud).world.volumes[volume["id"]].exports == {}
    assert cloud.get(f"{ATTACHMENTS}/{ref}", version=V).status == 404


def test_attachments_are_unknown_before_3_27(cloud: Cloud) -> None:
    assert cloud.get(ATTACHMENTS, version="volume 3.26").status == 404


def test_only_multiattach_volumes_are_shared(cloud: Cloud, make: Make) -> None:
    plain, shared = make(), make(multiattach=True)
    for volume, second in ((plain, 400), (shared, 200)):
        for status in (200, second):
            body = {"attachment": {"volume_uuid": volume["id"], "instance_uuid": new_id(), "connector": CONNECTOR}}
            assert cloud.post(ATTACHMENTS, body, version=V).status == status
    assert len(backend(cloud).world.volumes[shared["id"]].exports) == 2


def test_a_server_on_its_way_to_another_host_may_reserve_again(cloud: Cloud, make: Make) -> None:
    volume, server = make(), new_id()
    body = {"attachment": {"volume_uuid": volume["id"], "instance_uuid": server}}
    first = cloud.post(ATTACHMENTS, body, version=V).json()["attachment"]["id"]
    assert cloud.post(ATTACHMENTS, body, version=V).status == 200
    cloud.delete(f"{ATTACHMENTS}/{first}", version=V)
    assert show(cloud, "volumes", volume["id"])["status"] == "reserved"


def test_read_only_volumes_are_attached_read_only(cloud: Cloud, make: Make) -> None:
    volume = make()
    act(cloud, volume["id"], "os-update_readonly_flag", {"readonly": True})
    body = {"attachment": {"volume_uuid": volume["id"], "instance_uuid": new_id(), "mode": "rw"}}
    assert cloud.post(ATTACHMENTS, body, version=V).status == 400
    body["attachment"] |= {"mode": "ro", "connector": CONNECTOR}
    assert cloud.post(ATTACHMENTS, body, version=V).json()["attachment"]["attach_mode"] == "ro"


def test_the_older_road(cloud: Cloud, make: Make) -> None:
    volume, server = make(), new_id()
    ref = volume["id"]
    assert act(cloud, ref, "os-reserve", {}).status == 202
    assert act(cloud, ref, "os-reserve", {}).status == 400
    assert act(cloud, ref, "os-unreserve", {}).status == 202
    assert show(cloud, "volumes", ref)["status"] == "available"
    assert act(cloud, ref, "os-reserve", None).status == 202
    info = act(cloud, ref, "os-initialize_connection", {"connector": CONNECTOR}).json()["connection_info"]
    assert (info["driver_volume_type"], info["data"]["volume_id"]) == ("nbd", ref)
    assert act(cloud, ref, "os-attach", {"instance_uuid": server, "mountpoint": "/dev/vdc"}).status == 202
    seen = show(cloud, "volumes", ref)
    assert (seen["status"], seen["attachments"][0]["device"], len(seen["attachments"])) == ("in-use", "/dev/vdc", 1)
    assert act(cloud, ref, "os-begin_detaching", {}).status == 202
    assert act(cloud, ref, "os-roll_detaching", {}).status == 202
    assert act(cloud, ref, "os-begin_detaching", {}).status == 202
    assert show(cloud, "volumes", ref)["status"] == "detaching"
    assert act(cloud, ref, "os-terminate_connection", {"connector": CONNECTOR}).status == 202
    assert backend(cloud).world.volumes[ref].exports == {}
    assert act(cloud, ref, "os-detach", {}).status == 202
    assert show(cloud, "volumes", ref)["status"] == "available"


def test_whoever_uses_an_attachment_may_refuse_its_end(cloud: Cloud, make: Make) -> None:
    def refuse(ctx: Any, asked: block_storage.DetachAsked) -> None:
        raise Conflict(f"Server {asked.server_id} uses it; detach it there.")

    cloud.program.events.hear(block_storage.DetachAsked, refuse)
    body = {"attachment": {"volume_uuid": make()["id"], "instance_uuid": new_id(), "connector": CONNECTOR}}
    ref = cloud.post(ATTACHMENTS, body, version=V).json()["attachment"]["id"]
    assert cloud.delete(f"{ATTACHMENTS}/{ref}", version=V).status == 409
    assert cloud.get(f"{ATTACHMENTS}/{ref}", version=V).json()["attachment"]["status"] == "attaching"


def test_the_door(cloud: Cloud, make: Make) -> None:
    heard: list[block_storage.VolumeExtended] = []
    cloud.program.events.hear(block_storage.VolumeExtended, lambda _, event: heard.append(event))
    program, member, server = cloud.program, people.PEOPLE["member"], new_id()
    with program.db.transaction() as tx:
        ctx = program.context(tx, member)
        ref = block_storage.create_volume(ctx, size_gib=1, name="root")
    cloud.wait(lambda: _status(cloud, ref) == "available")
    with program.db.transaction() as tx:
        ctx = program.context(tx, member)
        attachment = block_storage.reserve(ctx, ref, server)
        with pytest.raises(Invalid):
            block_storage.reserve(ctx, ref, new_id())
    for _ in range(2):
        connection = block_storage.connect(program, attachment, "node1")
    assert (connection.kind, connection.export) == ("nbd", attachment)
    with program.db.transaction() as tx:
        ctx = program.context(tx, member)
        block_storage.complete(ctx, attachment, "/dev/vda")
        info = block_storage.get(ctx, ref)
        assert (info.status, info.attachments) == ("in-use", [(server, "/dev/vda")])
        assert block_storage.attachments_of_server(tx, server) == [(attachment, ref, "/dev/vda")]
    assert act(cloud, ref, "os-extend", {"new_size": 2}, version="volume 3.41").status == 400
    assert act(cloud, ref, "os-extend", {"new_size": 2}).status == 202
    wait_for(cloud, "volumes", ref, "in-use")
    assert [(one.server_ids, one.new_size) for one in heard] == [([server], 2)]
    with program.db.transaction() as tx:
        block_storage.begin_detach(program.context(tx, member), ref, server)
    for _ in range(2):
        block_storage.disconnect(program, attachment)
    for _ in range(2):
        with program.db.transaction() as tx:
            block_storage.finish_detach(program.context(tx, member), attachment)
    assert _status(cloud, ref) == "available"
    with program.db.transaction() as tx:
        block_storage.delete_volume(program.context(tx, member), ref)
    gone(cloud, "volumes", ref)
    with program.db.transaction() as tx:
        block_storage.delete_volume(program.context(tx, member), ref)


def _status(cloud: Cloud, ref: str) -> str | None:
    with cloud.program.db.transaction(write=False) as tx:
        return block_storage.status_of(tx, [ref]).get(ref)
