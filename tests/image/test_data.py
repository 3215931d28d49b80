"""Images' data: streamed in and out, checked on the way, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilvi import image as door
from pilvi.image.operations import data
from pilvi.image.tables import Image
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.kernel.http import chain
from pilvi.kernel.http.request import Request
from pilvi.kernel.testing import people
from pilvi.kernel.testing.cloud import Cloud, Told

OCTETS = {"content-type": "application/octet-stream"}
CONTENT = bytes(range(256)) * 4000


def make(cloud: Cloud, **body: Any) -> str:
    return cloud.post("/image/v2/images", {"disk_format": "raw", "container_format": "bare", "name": "i", **body}).json()["id"]


def upload(cloud: Cloud, image_id: str, content: bytes = CONTENT, verb: str = "file", **options: Any) -> Told:
    return cloud.put(f"/image/v2/images/{image_id}/{verb}", data=content, headers=OCTETS, **options)


def flow(cloud: Cloud, image_id: str, pieces: Iterator[bytes]) -> Told:
    """An upload whose body comes piece by piece; the iterator may raise."""
    headers = {**OCTETS, "x-auth-token": "member"}
    request = Request("PUT", f"/v2/images/{image_id}/file", "", headers, pull=lambda: next(pieces, b""))
    mount = cloud.mounts["image"]
    return Told(chain.run(cloud.program, mount, request, mount.router.find(request.path)))


def show(cloud: Cloud, image_id: str) -> dict[str, Any]:
    return cloud.get(f"/image/v2/images/{image_id}").json()


def qcow2(size: int = 1 << 30, backing: bytes = b"") -> bytes:
    """A qcow2 header that is right but for the backing file that it may name."""
    cluster = 1 << 16
    head = b"QFI\xfb" + struct.pack(
        ">IQIIQIIQQIIQ", 3, 512 if backing else 0, len(backing), 16, size, 0, 2, 3 * cluster, cluster, 1, 0, 0
    )
    head += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    return head.ljust(512, b"\0") + backing.ljust(4 * cluster - 512, b"\0")


def stored(cloud: Cloud) -> list[str]:
    return data.store(cloud.program).observe()


def leftovers(cloud: Cloud) -> list[str]:
    return [str(path) for folder in ("images", "image-staging") for path in Path(cloud.program.state / folder).glob(".writing-*")]


def test_data_goes_in_and_out(cloud: Cloud) -> None:
    image_id = make(cloud)
    assert cloud.get(f"/image/v2/images/{image_id}/file").status == 204
    assert upload(cloud, image_id).status == 204
    image = show(cloud, image_id)
    assert (image["status"], image["size"], image["stores"]) == ("active", len(CONTENT), "file")
    assert image["checksum"] == hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(CONTENT).hexdigest())
    told = cloud.get(f"/image/v2/images/{image_id}/file")
    assert (told.status, told.content == CONTENT, told.headers["content-md5"]) == (200, True, image["checksum"])
    assert told.headers["content-length"] == str(len(CONTENT))
    assert upload(cloud, image_id).status == 409


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [("bytes=0-9", 206, 0, 10), ("bytes=5-", 206, 5, None), ("bytes=-7", 206, -7, None), ("bytes=9999999-", 416, 0, 0), ("bytes=9-1", 416, 0, 0)],
)
def test_parts_can_be_asked_for(cloud: Cloud, asked: str, status: int, start: int, end: int | None) -> None:
    image_id = make(cloud)
    upload(cloud, image_id)
    told = cloud.get(f"/image/v2/images/{image_id}/file", headers={"range": asked})
    assert told.status == status
    if status == 206:
        assert told.content == CONTENT[start:end]
        assert told.headers["content-range"].endswith(f"/{len(CONTENT)}")


def test_an_upload_that_breaks_off_leaves_nothing(cloud: Cloud) -> None:
    image_id = make(cloud)

    def pieces() -> Iterator[bytes]:
        yield CONTENT
        assert show(cloud, image_id)["status"] == "saving"
        raise ConnectionError

    assert flow(cloud, image_id, pieces()).status == 400
    assert show(cloud, image_id)["status"] == "queued"
    assert (stored(cloud), leftovers(cloud)) == ([], [])
    assert upload(cloud, image_id).status == 204


def test_an_image_deleted_during_its_upload_leaves_nothing(cloud: Cloud) -> None:
    image_id = make(cloud)

    def pieces() -> Iterator[bytes]:
        yield CONTENT
        assert cloud.delete(f"/image/v2/images/{image_id}").status == 204

    assert flow(cloud, image_id, pieces()).status == 410
    assert (stored(cloud), leftovers(cloud)) == ([], [])


def test_two_uploads_at_once_are_one(cloud: Cloud) -> None:
    image_id = make(cloud)

    def pieces() -> Iterator[bytes]:
        yield CONTENT
        assert upload(cloud, image_id, b"other").status == 409

    assert flow(cloud, image_id, pieces()).status == 204
    assert cloud.get(f"/image/v2/images/{image_id}/file").content == CONTENT


def test_dangerous_and_mislabelled_data_is_refused(cloud: Cloud) -> None:
    image_id = make(cloud, disk_format="qcow2")
    told = upload(cloud, image_id, qcow2(backing=b"/etc/passwd"))
    assert (told.status, "backing file" in told.json()["error"]["message"]) == (400, True)
    told = upload(cloud, image_id, CONTENT)
    assert (told.status, "raw" in told.json()["error"]["message"]) == (400, True)
    assert show(cloud, image_id)["status"] == "queued"
    assert (stored(cloud), leftovers(cloud)) == ([], [])
    assert upload(cloud, image_id, qcow2()).status == 204
    assert show(cloud, image_id)["virtual_size"] == 1 << 30
    lying = make(cloud)
    assert upload(cloud, lying, qcow2()).status == 400


def test_labels_may_be_left_unchecked(make_cloud: Callable[..., Cloud]) -> None:
    cloud = make_cloud(require_format_match=False)
    image_id = make(cloud, disk_format="qcow2")
    assert upload(cloud, image_id, CONTENT).status == 204


def test_sizes_are_limited(make_cloud: Callable[..., Cloud]) -> None:
    cloud = make_cloud(image_size_total=1000)
    first, second = make(cloud), make(cloud)
    assert upload(cloud, first, b"x" * 1001).status == 413
    assert upload(cloud, first, b"x" * 900).status == 204
    assert upload(cloud, second, b"x" * 101).status == 413
    assert upload(cloud, second, b"x" * 100).status == 204


def test_formats_must_be_known_before_data(cloud: Cloud) -> None:
    image_id = cloud.post("/image/v2/images", {}).json()["id"]
    assert upload(cloud, image_id).status == 400
    assert upload(cloud, make(cloud), person="stranger").status == 404
    assert cloud.put(f"/image/v2/images/{image_id}/file", data=b"{}", headers={"content-type": "application/json"}).status == 415


def test_deactivated_images_are_not_downloaded(cloud: Cloud) -> None:
    image_id = make(cloud)
    at = f"/image/v2/images/{image_id}"
    assert cloud.post(f"{at}/actions/deactivate").status == 403
    upload(cloud, image_id)
    for _ in range(2):
        assert cloud.post(f"{at}/actions/deactivate").status == 204
    assert cloud.get(f"{at}/file").status == 403
    assert cloud.get(f"{at}/file", person="admin").status == 200
    assert cloud.post(f"{at}/actions/reactivate").status == 204
    assert cloud.get(f"{at}/file").content == CONTENT


def test_deleting_takes_the_data_but_not_from_who_reads_it(cloud: Cloud) -> None:
    image_id = make(cloud)
    upload(cloud, image_id, CONTENT * 3)
    pieces = data.store(cloud.program).read(image_id)
    first = next(pieces)
    assert cloud.delete(f"/image/v2/images/{image_id}").status == 204
    assert stored(cloud) == []
    assert first + b"".join(pieces) == CONTENT * 3


def test_writers_that_died_are_healed(cloud: Cloud) -> None:
    dead, ended, alive = make(cloud), make(cloud), make(cloud)
    with cloud.program.db.transaction() as tx:
        tx.update(Image, Image.c.id == dead, status="saving", writer="node1:999999999:5:x", written_at=clock.now())
        tx.update(Image, Image.c.id == ended, status="saving", writer=f"node1:{os.getpid()}:5:x", written_at=clock.now())
        tx.update(Image, Image.c.id == alive, status="saving", writer="node2:1:5:x", written_at=clock.now())
    data.heal(cloud.program)
    assert [show(cloud, one)["status"] for one in (dead, ended, alive)] == ["queued", "queued", "saving"]
    with cloud.program.db.transaction() as tx:
        tx.update(Image, Image.c.id == alive, written_at=clock.now() - 1000)
    data.heal(cloud.program)
    assert show(cloud, alive)["status"] == "queued"


def test_data_of_no_image_is_swept(cloud: Cloud) -> None:
    image_id = make(cloud)
    upload(cloud, image_id)
    writer = data.store(cloud.program).begin("11111111-2222-4333-8444-555555555555")
    writer.write(b"x")
    writer.commit()
    data.sweep(cloud.program)
    assert stored(cloud) == [image_id]


def context(cloud: Cloud, tx: Any, person: str = "member") -> Context:
    return cloud.program.context(tx, people.PEOPLE[person])


def test_the_door(cloud: Cloud) -> None:
    with cloud.program.db.transaction() as tx:
        ctx = context(cloud, tx)
        image_id = door.create(ctx, name="snap", disk_format="qcow2", container_format="bare", properties={"base": "x"}, min_disk=1)
        info = door.get(ctx, image_id)
        assert (info.name, info.status, info.properties, info.visibility, info.min_disk) == ("snap", "queued", {"base": "x"}, "private", 1)
        with pytest.raises(NotFound):
            door.get(context(cloud, tx, "stranger"), image_id)
        assert list(door.many(ctx, [image_id, "absent"])) == [image_id]
    assert door.path(cloud.program, image_id) is None
    assert upload(cloud, image_id, qcow2()).status == 204
    path = door.path(cloud.program, image_id)
    assert path is not None
    assert Path(path).read_bytes() == qcow2()
    with cloud.program.db.transaction() as tx:
        door.fail(context(cloud, tx), image_id)
    assert show(cloud, image_id)["status"] == "active"
    for _ in range(2):
        with cloud.program.db.transaction() as tx:
            door.delete(context(cloud, tx), image_id)
    assert not Path(path).exists()
