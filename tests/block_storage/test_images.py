"""Volumes made from images: what is checked before, what is kept of the image, what goes wrong with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilvi.block_storage.service import SERVICE
from pilvi.block_storage.settings import Settings
from pilvi.image.service import SERVICE as IMAGE
from pilvi.image.settings import Settings as ImageSettings
from pilvi.kernel.config import KernelSettings
from pilvi.kernel.testing.cloud import Cloud
from tests.block_storage.conftest import backend, show, wait_for
from tests.block_storage.test_volumes import VOLUMES, act, messages

BothSettings = msgspec.defstruct(
    "BothSettings",
    [("image", ImageSettings, msgspec.field(default_factory=ImageSettings)), ("block_storage", Settings, msgspec.field(default_factory=Settings))],
    bases=(KernelSettings,), kw_only=True,
)  # fmt: skip


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    running = Cloud(tmp_path, [IMAGE, SERVICE], BothSettings, block_storage={"driver": "fake"}).start()
    yield running
    running.stop()


def image(cloud: Cloud, data: bytes | None = b"\0" * 4096, **fields: Any) -> str:
    body = {"name": "guest", "disk_format": "raw", "container_format": "bare", **fields}
    told = cloud.post("/image/v2/images", body)
    assert told.status == 201, told
    ref = told.json()["id"]
    if data is not None:
        sent = cloud.put(f"/image/v2/images/{ref}/file", data=data, headers={"content-type": "application/octet-stream"})
        assert sent.status == 204, sent
    return ref


def test_a_volume_holds_the_image_and_remembers_it(cloud: Cloud) -> None:
    data = b"boot" * 1024
    ref = image(cloud, data, hw_disk_bus="virtio", min_ram=64)
    told = cloud.post(VOLUMES, {"volume": {"size": 1, "imageRef": ref}})
    assert told.status == 202, told
    volume = wait_for(cloud, "volumes", told.json()["volume"]["id"], "available")
    assert backend(cloud).world.volumes[volume["id"]].content == data
    kept = volume["volume_image_metadata"]
    assert volume["bootable"] == "true"
    assert (kept["image_id"], kept["image_name"], kept["hw_disk_bus"], kept["min_ram"]) == (ref, "guest", "virtio", "64")


@pytest.mark.parametrize("ref", ["no-id", "6f1d4a37-1c6e-4a0b-9a55-8a0a3f1b9f0e"])
def test_the_image_must_be_there(cloud: Cloud, ref: str) -> None:
    assert cloud.post(VOLUMES, {"volume": {"size": 1, "imageRef": ref}}).status in (400, 404)


def test_the_image_must_be_active_and_fit(cloud: Cloud) -> None:
    assert cloud.post(VOLUMES, {"volume": {"size": 1, "imageRef": image(cloud, None)}}).status == 400
    told = cloud.post(VOLUMES, {"volume": {"size": 1, "imageRef": image(cloud, min_disk=2)}})
    assert told.status == 400
    assert "2GB" in told.json()["badRequest"]["message"]


def test_a_volume_is_written_over(cloud: Cloud) -> None:
    first = cloud.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
    wait_for(cloud, "volumes", first, "available")
    ref = image(cloud, b"anew" * 1024)
    assert act(cloud, first, "os-reimage", {"image_id": ref}, version="volume 3.67").status == 400
    assert act(cloud, first, "os-reimage", {"image_id": ref}).status == 202
    assert wait_for(cloud, "volumes", first, "available")["volume_image_metadata"]["image_id"] == ref
    assert backend(cloud).world.volumes[first].content == b"anew" * 1024


def test_an_upload_that_fails_leaves_the_volume_and_no_image(cloud: Cloud) -> None:
    first = cloud.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
    wait_for(cloud, "volumes", first, "available")
    backend(cloud).faults.fail("ensure_copy", "no room for a copy")
    told = act(cloud, first, "os-volume_upload_image", {"image_name": "mine", "disk_format": "raw"})
    assert told.status == 202, told
    assert (told.json()["os-volume_upload_image"]["status"], told.json()["os-volume_upload_image"]["visibility"]) == ("uploading", "private")
    ref = told.json()["os-volume_upload_image"]["image_id"]
    wait_for(cloud, "volumes", first, "available")
    assert messages(cloud, first)[0]["user_message"] == "no room for a copy"
    assert cloud.get(f"/image/v2/images/{ref}").status == 404
    assert act(cloud, first, "os-volume_upload_image", {"image_name": "mine", "disk_format": "floppy"}).status == 400
    assert act(cloud, first, "os-volume_upload_image", {"image_name": "mine", "visibility": "public"}).status == 403
    assert show(cloud, "volumes", first)["status"] == "available"
