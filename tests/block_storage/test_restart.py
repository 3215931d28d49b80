"""What a new program finds of what an old one left: rows, volumes and attachments are still true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pilvi.block_storage.drivers.fake import VolumeWorld
from pilvi.block_storage.service import SERVICE
from pilvi.kernel.ids import new_id
from pilvi.kernel.testing.cloud import Cloud
from tests.block_storage.conftest import AllSettings, gone, show, wait_for
from tests.block_storage.test_attachments import ATTACHMENTS, CONNECTOR
from tests.block_storage.test_volumes import VOLUMES

V = "volume 3.71"


def begin(state: Path, world: VolumeWorld) -> Cloud:
    cloud = Cloud(state, [SERVICE], AllSettings, block_storage={"driver": "fake"})
    cloud.program.parts["block_storage.world"] = world
    return cloud.start()


def test_attachments_are_served_again(tmp_path: Path) -> None:
    world = VolumeWorld()
    old = begin(tmp_path, world)
    ref = old.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
    wait_for(old, "volumes", ref, "available")
    body: dict[str, Any] = {"attachment": {"volume_uuid": ref, "instance_uuid": new_id(), "connector": CONNECTOR}}
    attachment = old.post(ATTACHMENTS, body, version=V).json()["attachment"]["id"]
    old.stop()
    world.volumes[ref].exports.clear()  # the host was started anew
    new = begin(tmp_path, world)
    try:
        assert world.volumes[ref].exports == {attachment: "node1"}
        assert show(new, "volumes", ref)["status"] == "attaching"
    finally:
        new.stop()


def test_work_under_way_is_ended_by_the_next_program(tmp_path: Path) -> None:
    world = VolumeWorld()
    old = begin(tmp_path, world)
    old.program.parts["block_storage.driver"].faults.slow("ensure_volume", 0.3)
    made = old.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
    wait_for(old, "volumes", made, "available")
    kept = old.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
    removed = old.delete(f"{VOLUMES}/{made}")
    assert removed.status == 202
    old.stop()
    new = begin(tmp_path, world)
    try:
        wait_for(new, "volumes", kept, "available")
        gone(new, "volumes", made)
        assert list(world.volumes) == [kept]
    finally:
        new.stop()
