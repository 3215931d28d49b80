"""What is made from volumes: snapshots, reverts, backups, transfers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilvi.kernel.testing.cloud import Cloud
from tests.block_storage.conftest import backend, gone, show, wait_for
from tests.block_storage.test_volumes import VOLUMES, act, messages

Make = Callable[..., dict[str, Any]]
V = "volume 3.71"
SNAPSHOTS, BACKUPS = "/volume/v3/snapshots", "/volume/v3/backups"


def snap(cloud: Cloud, volume_id: str, **fields: Any) -> dict[str, Any]:
    told = cloud.post(SNAPSHOTS, {"snapshot": {"volume_id": volume_id, **fields}}, version="volume 3.65")
    assert told.status == 202, told
    return wait_for(cloud, "snapshots", told.json()["snapshot"]["id"], "available")


def back_up(cloud: Cloud, volume_id: str, **fields: Any) -> dict[str, Any]:
    told = cloud.post(BACKUPS, {"backup": {"volume_id": volume_id, **fields}}, version=V)
    assert told.status == 202, told
    return wait_for(cloud, "backups", told.json()["backup"]["id"], "available")


def test_a_snapshot_becomes_a_volume_and_is_deleted(cloud: Cloud, make: Make) -> None:
    source = make(size=2)
    backend(cloud).world.volumes[source["id"]].content = b"then"
    snapshot = snap(cloud, source["id"], name="s", metadata={"a": "b"})
    assert (snapshot["size"], snapshot["os-extended-snapshot-attributes:progress"]) == (2, "100%")
    backend(cloud).world.volumes[source["id"]].content = b"now"
    copy = make(snapshot_id=snapshot["id"], size=None)
    assert backend(cloud).world.volumes[copy["id"]].content == b"then"
    assert cloud.delete(f"{VOLUMES}/{source['id']}").status == 400
    assert cloud.get(f"{SNAPSHOTS}/detail", volume_id=source["id"]).json()["snapshots"][0]["id"] == snapshot["id"]
    assert cloud.delete(f"{SNAPSHOTS}/{snapshot['id']}").status == 202
    gone(cloud, "snapshots", snapshot["id"])
    assert backend(cloud).world.volumes[source["id"]].snapshots == {}


def test_a_snapshot_in_use_needs_force_until_3_66(cloud: Cloud, make: Make) -> None:
    volume = make()
    act(cloud, volume["id"], "os-attach", {"host_name": "h", "mountpoint": "/dev/x"})
    body: dict[str, Any] = {"snapshot": {"volume_id": volume["id"]}}
    assert cloud.post(SNAPSHOTS, body, version="volume 3.65").status == 400
    assert cloud.post(SNAPSHOTS, body, version="volume 3.66").status == 202
    body["snapshot"]["force"] = False
    assert cloud.post(SNAPSHOTS, body, version="volume 3.66").status == 400
    body["snapshot"]["force"] = True
    assert cloud.post(SNAPSHOTS, body, version="volume 3.65").status == 202


def test_a_snapshot_that_fails_says_why(cloud: Cloud, make: Make) -> None:
    volume = make()
    backend(cloud).faults.fail("ensure_snapshot", "no room")
    ref = cloud.post(SNAPSHOTS, {"snapshot": {"volume_id": volume["id"]}}).json()["snapshot"]["id"]
    wait_for(cloud, "snapshots", ref, "error")
    assert messages(cloud, ref)[0]["user_message"] == "no room"
    assert cloud.delete(f"{SNAPSHOTS}/{ref}").status == 202
    gone(cloud, "snapshots", ref)


def test_a_cascade_takes_the_snapshots_along(cloud: Cloud, make: Make) -> None:
    volume = make()
    refs = [snap(cloud, volume["id"])["id"] for _ in range(2)]
    assert cloud.delete(f"{VOLUMES}/{volume['id']}", cascade=True).status == 202
    gone(cloud, "volumes", volume["id"])
    for ref in refs:
        gone(cloud, "snapshots", ref)
    assert backend(cloud).world.volumes == {}


def test_a_source_is_deleted_when_its_copies_are_made(cloud: Cloud, make: Make) -> None:
    volume = make()
    driver = backend(cloud)
    driver._asks = 10**6  # copies do not end
    ref = cloud.post(VOLUMES, {"volume": {"source_volid": volume["id"]}}).json()["volume"]["id"]
    assert cloud.delete(f"{VOLUMES}/{volume['id']}").status == 202
    cloud.wait(lambda: driver.world.asked.get(f"volume {ref}", 0) > 1)
    assert volume["id"] in driver.world.volumes
    driver._asks = 0
    wait_for(cloud, "volumes", ref, "available")
    gone(cloud, "volumes", volume["id"])


def test_a_volume_goes_back_to_its_last_snapshot_only(cloud: Cloud, make: Make) -> None:
    volume = make()
    world = backend(cloud).world.volumes
    world[volume["id"]].content = b"one"
    first = snap(cloud, volume["id"])
    world[volume["id"]].content = b"two"
    second = snap(cloud, volume["id"])
    world[volume["id"]].content = b"three"
    assert act(cloud, volume["id"], "revert", {"snapshot_id": first["id"]}).status == 400
    assert act(cloud, volume["id"], "revert", {"snapshot_id": second["id"]}, version="volume 3.39").status == 400
    assert act(cloud, volume["id"], "revert", {"snapshot_id": second["id"]}).status == 202
    wait_for(cloud, "volumes", volume["id"], "available")
    assert world[volume["id"]].content == b"two"
    assert show(cloud, "snapshots", second["id"])["status"] == "available"


def test_a_backup_outlives_its_volume(cloud: Cloud, make: Make) -> None:
    volume = make(size=2)
    world = backend(cloud).world.volumes
    world[volume["id"]].content = b"precious"
    backup = back_up(cloud, volume["id"], name="b", metadata={"k": "v"})
    assert (backup["size"], backup["is_incremental"], backup["metadata"]) == (2, False, {"k": "v"})
    assert show(cloud, "volumes", volume["id"])["status"] == "available"
    cloud.delete(f"{VOLUMES}/{volume['id']}")
    gone(cloud, "volumes", volume["id"])

    told = cloud.post(f"{BACKUPS}/{backup['id']}/restore", {"restore": {"name": "again"}})
    assert told.status == 202, told
    restored = wait_for(cloud, "volumes", told.json()["restore"]["volume_id"], "available")
    assert (restored["name"], restored["size"]) == ("again", 2)
    assert world[restored["id"]].content == b"precious"

    world[restored["id"]].content = b"spoilt"
    assert cloud.post(f"{BACKUPS}/{backup['id']}/restore", {"restore": {"volume_id": restored["id"]}}).status == 202
    wait_for(cloud, "volumes", restored["id"], "available")
    assert world[restored["id"]].content == b"precious"
    wait_for(cloud, "backups", backup["id"], "available")

    fresh = make(backup_id=backup["id"], size=3)
    assert world[fresh["id"]].content == b"precious"
    assert cloud.delete(f"{BACKUPS}/{backup['id']}").status == 202
    gone(cloud, "backups", backup["id"])
    assert backend(cloud).world.folder is not None
    assert backend(cloud).copy_path(backup["id"]) and not _copies(cloud)


def _copies(cloud: Cloud) -> list[str]:
    import os

    return os.listdir(backend(cloud).world.folder.name)


def test_a_backup_that_fails_leaves_the_volume_as_it_was(cloud: Cloud, make: Make) -> None:
    volume = make()
    backend(cloud).faults.fail("ensure_copy", "tape torn")
    ref = cloud.post(BACKUPS, {"backup": {"volume_id": volume["id"]}}).json()["backup"]["id"]
    assert wait_for(cloud, "backups", ref, "error")["fail_reason"] == "tape torn"
    assert show(cloud, "volumes", volume["id"])["status"] == "available"


def test_backups_count_against_their_quota(cloud: Cloud, make: Make) -> None:
    volume = make(size=2)
    cloud.put(f"/volume/v3/os-quota-sets/{'1' * 32}", {"quota_set": {"backup_gigabytes": 3}}, person="admin")
    back_up(cloud, volume["id"])
    assert cloud.post(BACKUPS, {"backup": {"volume_id": volume["id"]}}).status == 413


def test_a_record_makes_a_lost_backup_known_again(cloud: Cloud, make: Make) -> None:
    backup = back_up(cloud, make()["id"])
    record = cloud.get(f"{BACKUPS}/{backup['id']}/export_record", person="admin").json()
    assert cloud.post(f"{BACKUPS}/import_record", record, person="admin").status == 409
    with cloud.program.db.transaction() as tx:
        from pilvi.block_storage.tables.volumes import Backup

        tx.delete(Backup)
    told = cloud.post(f"{BACKUPS}/import_record", record, person="admin")
    assert told.status == 201, told
    assert show(cloud, "backups", backup["id"])["status"] == "available"
    record["backup-record"]["backup_url"] = "bm90aGluZw=="
    assert cloud.post(f"{BACKUPS}/import_record", record, person="admin").status == 400


def test_a_volume_changes_hands_by_its_key(cloud: Cloud, make: Make) -> None:
    volume = make(size=2)
    snapshot = snap(cloud, volume["id"])
    told = cloud.post("/volume/v3/volume-transfers", {"transfer": {"volume_id": volume["id"], "name": "gift"}}, version=V)
    assert told.status == 202, told
    offer = told.json()["transfer"]
    assert show(cloud, "volumes", volume["id"])["status"] == "awaiting-transfer"
    place = f"/volume/v3/volume-transfers/{offer['id']}"
    assert cloud.get(place, person="stranger", version=V).status == 404
    assert cloud.post(f"{place}/accept", {"accept": {"auth_key": "guess"}}, person="stranger", version=V).status == 400
    assert cloud.post(f"{place}/accept", {"accept": {"auth_key": offer["auth_key"]}}, person="stranger", version=V).status == 202
    assert cloud.get(f"{VOLUMES}/{volume['id']}").status == 404
    assert cloud.get(f"{VOLUMES}/{volume['id']}", person="stranger").json()["volume"]["status"] == "available"
    assert cloud.get(f"{SNAPSHOTS}/{snapshot['id']}", person="stranger").status == 200


def test_an_offer_is_taken_back(cloud: Cloud, make: Make) -> None:
    volume = make()
    offer = cloud.post("/volume/v3/os-volume-transfer", {"transfer": {"volume_id": volume["id"]}}).json()["transfer"]
    assert cloud.delete(f"/volume/v3/os-volume-transfer/{offer['id']}").status == 202
    assert show(cloud, "volumes", volume["id"])["status"] == "available"
