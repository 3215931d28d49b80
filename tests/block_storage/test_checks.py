"""The checks find what has drifted between rows and back end, and mend it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi import block_storage
from pilvi.block_storage import checks
from pilvi.block_storage.drivers.fake import FakeVolume
from pilvi.findings import check
from pilvi.kernel import clock
from pilvi.kernel.ids import new_id
from pilvi.kernel.testing.cloud import Cloud
from tests.block_storage.conftest import backend, show
from tests.block_storage.test_attachments import ATTACHMENTS, CONNECTOR
from tests.block_storage.test_copies import back_up, snap

Make = Callable[..., dict[str, Any]]
V = "volume 3.71"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time of grace: rows are looked at at once."""
    monkeypatch.setattr(checks, "_GRACE", -1.0)


def found(cloud: Cloud, *, repair: bool = False) -> list[tuple[str, str]]:
    return sorted((one["kind"], one["subject"]) for one in check(cloud.program, repair=repair)["findings"])


@pytest.mark.usefixtures("later")
def test_a_healthy_cloud_has_no_findings(cloud: Cloud, make: Make) -> None:
    volume = make()
    snap(cloud, volume["id"])
    back_up(cloud, volume["id"])
    cloud.post(ATTACHMENTS, {"attachment": {"volume_uuid": volume["id"], "instance_uuid": new_id(), "connector": CONNECTOR}}, version=V)
    assert found(cloud) == []


@pytest.mark.usefixtures("later")
def test_what_nobody_wants_is_removed(cloud: Cloud, make: Make) -> None:
    volume = make()
    world = backend(cloud).world.volumes
    world["stray"] = FakeVolume(1, exports={"old": "node1"})
    world[volume["id"]].snapshots["lost"] = (1, b"")
    world[volume["id"]].exports["ghost"] = "node1"
    expected = [("export without an attachment", "ghost"), ("snapshot without a row", "lost"), ("volume without a row", "stray")]
    assert found(cloud) == expected
    assert found(cloud, repair=True) == expected
    assert found(cloud) == []
    assert list(world) == [volume["id"]]


@pytest.mark.usefixtures("later")
def test_what_is_lost_is_said_to_be_in_error(cloud: Cloud, make: Make) -> None:
    first, second = make(), make(size=3)
    snapshot, backup = snap(cloud, second["id"]), back_up(cloud, second["id"])
    world = backend(cloud).world.volumes
    del world[first["id"]]
    world[second["id"]].snapshots.clear()
    world[second["id"]].size_gib = 1
    backend(cloud).remove_copy(backup["id"])
    assert found(cloud, repair=True) == sorted(
        [
            ("row without a volume", first["id"]), ("row without a snapshot", snapshot["id"]), ("row without a backup", backup["id"]),
            ("volume of the wrong size", second["id"]),
        ]
    )  # fmt: skip
    assert show(cloud, "volumes", first["id"])["status"] == "error"
    assert show(cloud, "snapshots", snapshot["id"])["status"] == "error"
    assert show(cloud, "backups", backup["id"])["status"] == "error"
    assert world[second["id"]].size_gib == 3
    assert found(cloud) == []


@pytest.mark.usefixtures("later")
def test_attachments_of_servers_that_are_gone_are_ended(cloud: Cloud, make: Make) -> None:
    server = new_id()
    cloud.program.events.hear(block_storage.AttachmentsAsked, lambda _, asked: asked.gone.update(asked.server_ids))
    volume = make()
    made = cloud.post(ATTACHMENTS, {"attachment": {"volume_uuid": volume["id"], "instance_uuid": server, "connector": CONNECTOR}}, version=V)
    ref = made.json()["attachment"]["id"]
    assert found(cloud, repair=True) == [("attachment without a server", ref)]
    assert show(cloud, "volumes", volume["id"])["status"] == "available"
    assert backend(cloud).world.volumes[volume["id"]].exports == {}


def test_a_young_row_is_left_in_peace(cloud: Cloud, make: Make) -> None:
    volume = make()
    assert clock.now() - clock.parse(volume["created_at"]) < 60
    del backend(cloud).world.volumes[volume["id"]]
    assert found(cloud) == []
