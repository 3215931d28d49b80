"""Volumes through the API: made, listed, changed, grown, deleted; what fails leaves a reason and nothing half-made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi.kernel.testing.cloud import Cloud
from tests.block_storage.conftest import backend, gone, show, wait_for

Make = Callable[..., dict[str, Any]]
V = "volume 3.71"
VOLUMES = "/volume/v3/volumes"


def act(cloud: Cloud, volume_id: str, action: str, body: Any = None, **options: Any) -> Any:
    options.setdefault("version", V)
    return cloud.post(f"{VOLUMES}/{volume_id}/action", {action: body}, **options)


def messages(cloud: Cloud, ref: str) -> list[dict[str, Any]]:
    told = cloud.get("/volume/v3/messages", version=V, resource_uuid=ref)
    assert told.status == 200, told
    return told.json()["messages"]


def test_a_volume_is_made_in_the_back_end_and_deleted_from_it(cloud: Cloud, make: Make) -> None:
    volume = make(name="data", size=3, metadata={"a": "b"})
    assert volume["os-vol-host-attr:host"] == "node1@fake#fake"
    assert backend(cloud).world.volumes[volume["id"]].size_gib == 3
    assert cloud.delete(f"{VOLUMES}/{volume['id']}").status == 202
    gone(cloud, "volumes", volume["id"])
    assert backend(cloud).world.volumes == {}


def test_the_path_may_name_the_project(cloud: Cloud, make: Make) -> None:
    volume = make()
    told = cloud.get(f"/volume/v3/{'1' * 32}/volumes/{volume['id']}")
    assert told.status == 200
    assert told.json()["volume"]["id"] == volume["id"]


@pytest.mark.parametrize("size", ["#$%", "-1", "0", None, 0, -1, 2**40])
def test_a_size_that_cannot_be_is_refused(cloud: Cloud, size: Any) -> None:
    told = cloud.post(VOLUMES, {"volume": {"size": size}})
    assert told.status == 400
    assert told.json()["badRequest"]["code"] == 400


@pytest.mark.parametrize(
    ("field", "status"),
    [("snapshot_id", 404), ("source_volid", 404), ("volume_type", 404), ("backup_id", 404), ("availability_zone", 400), ("group_id", 404)],
)
def test_what_a_volume_is_made_from_must_be_there(cloud: Cloud, field: str, status: int) -> None:
    told = cloud.post(VOLUMES, {"volume": {"size": 1, field: "6f1d4a37-1c6e-4a0b-9a55-8a0a3f1b9f0e"}}, version=V)
    assert told.status == status, told


def test_unknown_fields_pass_until_3_52_and_are_refused_since(cloud: Cloud) -> None:
    body = {"volume": {"size": 1, "colour": "red"}}
    assert cloud.post(VOLUMES, body, version="volume 3.52").status == 202
    assert cloud.post(VOLUMES, body, version="volume 3.53").status == 400


def test_strangers_see_nothing_and_readers_change_nothing(cloud: Cloud, make: Make) -> None:
    volume = make()
    place = f"{VOLUMES}/{volume['id']}"
    assert cloud.get(place, person="stranger").status == 404
    assert cloud.delete(place, person="stranger").status == 404
    assert cloud.get(place, person="reader").status == 200
    assert cloud.delete(place, person="reader").status == 403
    assert cloud.post(VOLUMES, {"volume": {"size": 1}}, person="reader").status == 403
    assert cloud.get(place, person="nobody").status == 401
    assert "os-vol-host-attr:host" not in cloud.get(place).json()["volume"]
    assert cloud.get(VOLUMES, person="stranger").json()["volumes"] == []
    assert [one["id"] for one in cloud.get(VOLUMES, person="admin", all_tenants=1).json()["volumes"]] == [volume["id"]]


def test_fields_come_with_their_versions(cloud: Cloud, make: Make) -> None:
    volume = make()
    oldest = cloud.get(f"{VOLUMES}/{volume['id']}", person="admin").json()["volume"]
    assert not {"group_id", "provider_id", "service_uuid", "shared_targets", "volume_type_id", "consumes_quota", "cluster_name"} & set(oldest)
    assert cloud.get(f"{VOLUMES}/{volume['id']}", version="volume 3.48").json()["volume"]["shared_targets"] is False
    assert cloud.get(f"{VOLUMES}/{volume['id']}", version="volume 3.69").json()["volume"]["shared_targets"] is None


def test_lists_filter_sort_and_page(cloud: Cloud, make: Make) -> None:
    ids = [make(name=f"v{number}", size=number, metadata={"n": str(number), "even": str(number % 2 == 0)})["id"] for number in (1, 2, 3)]

    def listed(**query: Any) -> list[str]:
        told = cloud.get(f"{VOLUMES}/detail", version=V, **query)
        assert told.status == 200, told
        return [one["id"] for one in told.json()["volumes"]]

    assert listed() == ids[::-1]
    assert listed(sort="size:asc") == ids
    assert listed(sort_key="name", sort_dir="asc") == ids
    assert listed(name="v2") == [ids[1]]
    assert listed(**{"name~": "v"}) == ids[::-1]
    assert listed(**{"name~": "2"}) == [ids[1]]
    assert listed(metadata="{'even': 'False'}") == [ids[2], ids[0]]
    assert listed(metadata="{'even': 'false'}") == []
    assert listed(status="error") == []
    assert listed(bootable="false", availability_zone="nova") == ids[::-1]
    assert listed(created_at="gt:2030-01-01") == []
    assert listed(created_at="lt:2099-01-01") == ids[::-1]
    assert listed(limit=0) == []
    assert listed(offset=1, limit=1) == [ids[1]]
    first = cloud.get(VOLUMES, limit=2, with_count=True, version=V).json()
    assert first["count"] == 3
    assert [one["id"] for one in first["volumes"]] == [ids[2], ids[1]]
    (link,) = first["volumes_links"]
    rest = cloud.get(link["href"].removeprefix(cloud.base), version=V).json()
    assert [one["id"] for one in rest["volumes"]] == [ids[0]]
    for wrong in ({"limit": "-1"}, {"limit": "x"}, {"sort_key": "colour"}, {"sort": "size:up"}, {"metadata": "["}):
        assert cloud.get(VOLUMES, version=V, **wrong).status == 400, wrong
    assert cloud.get(VOLUMES, marker="no").status == 404


def test_names_and_metadata_are_changed(cloud: Cloud, make: Make) -> None:
    place = f"{VOLUMES}/{make(name='old')['id']}"
    told = cloud.put(place, {"volume": {"name": " new ", "description": "d"}}).json()["volume"]
    assert (told["name"], told["description"]) == ("new", "d")
    assert cloud.put(place, {"volume": {}}).status == 400
    assert cloud.post(f"{place}/metadata", {"metadata": {"a": "1", "b": "2"}}).json() == {"metadata": {"a": "1", "b": "2"}}
    assert cloud.put(f"{place}/metadata/a", {"meta": {"a": "3"}}).json() == {"meta": {"a": "3"}}
    assert cloud.put(f"{place}/metadata/a", {"meta": {"z": "3"}}).status == 400
    assert cloud.delete(f"{place}/metadata/b").status == 200
    assert cloud.delete(f"{place}/metadata/b").status == 404
    seen = cloud.get(f"{place}/metadata", version="volume 3.15")
    assert seen.json() == {"metadata": {"a": "3"}}
    stale = cloud.put(f"{place}/metadata", {"metadata": {}}, headers={"if-match": "something else"}, version="volume 3.15")
    assert stale.status == 412
    fresh = cloud.put(f"{place}/metadata", {"metadata": {"c": "4"}}, headers={"if-match": seen.headers["etag"]}, version="volume 3.15")
    assert fresh.json() == {"metadata": {"c": "4"}}
    assert cloud.post(f"{place}/metadata", {"metadata": {"": "x"}}).status == 400
    assert cloud.post(f"{place}/metadata", {"metadata": {"k": "x" * 256}}).status == 400


def test_image_metadata_is_kept_shown_and_removed(cloud: Cloud, make: Make) -> None:
    volume = make()
    assert act(cloud, volume["id"], "os-set_image_metadata", {"metadata": {"os": "x"}}).json() == {"metadata": {"os": "x"}}
    assert show(cloud, "volumes", volume["id"])["volume_image_metadata"] == {"os": "x"}
    assert act(cloud, volume["id"], "os-unset_image_metadata", {"key": "os"}).status == 200
    assert act(cloud, volume["id"], "os-unset_image_metadata", {"key": "os"}).status == 404
    assert act(cloud, volume["id"], "os-show_image_metadata", {}).json() == {"metadata": {}}


def test_a_clone_takes_over_size_type_and_bootability(cloud: Cloud, make: Make) -> None:
    source = make(size=2)
    assert act(cloud, source["id"], "os-set_bootable", {"bootable": True}).status == 200
    assert cloud.post(VOLUMES, {"volume": {"source_volid": source["id"], "size": 1}}).status == 400
    clone = make(source_volid=source["id"], size=None)
    assert (clone["size"], clone["bootable"], clone["source_volid"]) == (2, "true", source["id"])


def test_a_volume_grows_and_never_shrinks(cloud: Cloud, make: Make) -> None:
    volume = make(size=2)
    assert act(cloud, volume["id"], "os-extend", {"new_size": 2}).status == 400
    assert act(cloud, volume["id"], "os-extend", {"new_size": "x"}).status == 400
    assert act(cloud, volume["id"], "os-extend", {"new_size": 5}).status == 202
    assert wait_for(cloud, "volumes", volume["id"], "available")["size"] == 5
    assert backend(cloud).world.volumes[volume["id"]].size_gib == 5


def test_growth_that_fails_says_why_and_leaves_the_size(cloud: Cloud, make: Make) -> None:
    volume = make(size=2)
    backend(cloud).faults.fail("ensure_size", "the shelf is full")
    assert act(cloud, volume["id"], "os-extend", {"new_size": 5}).status == 202
    assert wait_for(cloud, "volumes", volume["id"], "error_extending")["size"] == 2
    (message,) = messages(cloud, volume["id"])
    assert message["user_message"] == "the shelf is full"
    assert message["event_id"] == "VOLUME_VOLUME_007_010"


def test_no_room_is_explained_pool_by_pool(cloud: Cloud) -> None:
    assert cloud.put(f"/volume/v3/os-quota-sets/{'1' * 32}", {"quota_set": {"gigabytes": -1}}, person="admin").status == 200
    told = cloud.post(VOLUMES, {"volume": {"size": 5000}})
    assert told.status == 202
    ref = told.json()["volume"]["id"]
    wait_for(cloud, "volumes", ref, "error")
    (message,) = messages(cloud, ref)
    assert message["event_id"] == "VOLUME_VOLUME_001_003"
    assert "node1@fake#fake: it has 1000 GiB, 1000 GiB are free, 5000 GiB are needed" in message["user_message"]
    assert cloud.delete(f"{VOLUMES}/{ref}").status == 202
    gone(cloud, "volumes", ref)


def test_a_volume_that_cannot_be_made_is_in_error_and_can_be_deleted(cloud: Cloud) -> None:
    backend(cloud).faults.fail("ensure_volume", "broken disk", elsewhere=False)
    ref = cloud.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
    wait_for(cloud, "volumes", ref, "error")
    assert messages(cloud, ref)[0]["user_message"] == "broken disk"
    assert cloud.delete(f"{VOLUMES}/{ref}").status == 202
    gone(cloud, "volumes", ref)


def test_a_delete_that_fails_can_be_said_again(cloud: Cloud, make: Make) -> None:
    volume = make()
    backend(cloud).faults.fail("remove_volume", "stuck", times=1)
    assert cloud.delete(f"{VOLUMES}/{volume['id']}").status == 202
    wait_for(cloud, "volumes", volume["id"], "error_deleting")
    assert cloud.delete(f"{VOLUMES}/{volume['id']}").status == 202
    gone(cloud, "volumes", volume["id"])


def test_deleting_overtakes_making(cloud: Cloud) -> None:
    driver = backend(cloud)
    source = cloud.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
    wait_for(cloud, "volumes", source, "available")
    driver._asks = 10**6  # copies never end
    ref = cloud.post(VOLUMES, {"volume": {"source_volid": source}}).json()["volume"]["id"]
    cloud.wait(lambda: f"volume {ref}" in driver.world.asked)
    assert cloud.delete(f"{VOLUMES}/{ref}").status == 202
    gone(cloud, "volumes", ref)
    assert list(driver.world.volumes) == [source]


def test_read_only_shows_in_metadata(cloud: Cloud, make: Make) -> None:
    volume = make()
    assert act(cloud, volume["id"], "os-update_readonly_flag", {"readonly": "yes"}).status == 202
    assert show(cloud, "volumes", volume["id"])["metadata"] == {"readonly": "True"}
    assert act(cloud, volume["id"], "os-update_readonly_flag", {"readonly": "perhaps"}).status == 400


def test_administrators_reset_and_force(cloud: Cloud, make: Make) -> None:
    volume = make()
    assert act(cloud, volume["id"], "os-reset_status", {"status": "error"}).status == 403
    assert act(cloud, volume["id"], "os-reset_status", {"status": "sunny"}, person="admin").status == 400
    assert act(cloud, volume["id"], "os-reset_status", {"status": "maintenance"}, person="admin").status == 202
    assert cloud.delete(f"{VOLUMES}/{volume['id']}").status == 400
    assert act(cloud, volume["id"], "os-force_delete", {}).status == 403
    assert act(cloud, volume["id"], "os-force_delete", {}, person="admin").status == 202
    gone(cloud, "volumes", volume["id"])


def test_quotas_are_counted_from_what_is_there(cloud: Cloud, make: Make) -> None:
    project = "1" * 32
    assert cloud.put(f"/volume/v3/os-quota-sets/{project}", {"quota_set": {"volumes": 2, "gigabytes": 5}}, person="admin").status == 200
    first = make(size=3)
    told = cloud.post(VOLUMES, {"volume": {"size": 3}})
    assert told.status == 413
    assert told.json()["overLimit"]["message"].startswith("Requested volume or snapshot exceeds allowed gigabytes quota.")
    make(size=1)
    assert "Maximum number of volumes allowed (2)" in cloud.post(VOLUMES, {"volume": {"size": 1}}).json()["overLimit"]["message"]
    usage = cloud.get(f"/volume/v3/os-quota-sets/{project}", usage="True").json()["quota_set"]
    assert usage["volumes"] == {"limit": 2, "in_use": 2, "reserved": 0}
    assert usage["gigabytes"]["in_use"] == 4
    assert usage["gigabytes___DEFAULT__"]["in_use"] == 4
    cloud.delete(f"{VOLUMES}/{first['id']}")
    gone(cloud, "volumes", first["id"])
    make(size=4)
    absolute = cloud.get("/volume/v3/limits").json()["limits"]["absolute"]
    assert (absolute["totalVolumesUsed"], absolute["maxTotalVolumes"], absolute["totalGigabytesUsed"]) == (2, 2, 5)


def test_summary_counts(cloud: Cloud, make: Make) -> None:
    make(size=2, metadata={"k": "a"})
    make(size=3, metadata={"k": "b"})
    told = cloud.get(f"{VOLUMES}/summary", version="volume 3.36").json()["volume-summary"]
    assert (told["total_count"], told["total_size"], sorted(told["metadata"]["k"])) == (2, 5, ["a", "b"])
    assert "metadata" not in cloud.get(f"{VOLUMES}/summary", version="volume 3.12").json()["volume-summary"]
