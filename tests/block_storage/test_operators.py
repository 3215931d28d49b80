"""What operators see and switch, what the API tells of itself, and who may not do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi.block_storage.service import SERVICE
from pilvi.kernel.http.resource import Route
from pilvi.kernel.testing.cloud import Cloud
from tests.block_storage.conftest import gone, show, wait_for
from tests.block_storage.test_volumes import VOLUMES, messages

Make = Callable[..., dict[str, Any]]
V = "volume 3.71"
ROUTES = [route for resource in SERVICE.resources for route in resource.routes if route.rule is not None]


def say(cloud: Cloud, route: Route, person: str) -> int:
    path = "/volume" + "/".join("6f1d4a37-1c6e-4a0b-9a55-8a0a3f1b9f0e" if part.startswith("{") else part for part in route.path.split("/"))
    version = "volume 3.52" if not route.speaks((3, 71)) else V  # type: ignore[arg-type]
    return cloud.say(route.method, path, {route.action: {}} if route.action else None, person=person, version=version).status


def test_nobody_may_do_anything(cloud: Cloud) -> None:
    assert {route.name: status for route in ROUTES if (status := say(cloud, route, "nobody")) != 401} == {}


def test_members_may_not_do_what_is_for_administrators(cloud: Cloud) -> None:
    admin = [route for route in ROUTES if route.rule and route.rule.check == "rule:admin_api"]
    assert len(admin) > 40
    assert {route.name: status for route in admin if (status := say(cloud, route, "member")) != 403} == {}


def test_readers_write_nothing(cloud: Cloud) -> None:
    member = [route for route in ROUTES if route.rule and "project_member" in route.rule.check]
    assert len(member) > 40
    assert {route.name: status for route in member if (status := say(cloud, route, "reader")) != 403} == {}


def test_no_route_falls_over_an_empty_body(cloud: Cloud) -> None:
    assert {route.name: status for route in ROUTES if (status := say(cloud, route, "admin")) >= 500} == {}


def test_services_are_told_and_switched(cloud: Cloud) -> None:
    services = cloud.get("/volume/v3/os-services", person="admin", version=V).json()["services"]
    assert {(one["binary"], one["host"], one["state"]) for one in services} == {
        ("cinder-volume", "node1@fake", "up"), ("cinder-scheduler", "node1", "up"), ("cinder-backup", "node1", "up"),
    }  # fmt: skip
    named = {"binary": "cinder-volume", "host": "node1@fake", "disabled_reason": "new disks"}
    assert cloud.put("/volume/v3/os-services/disable-log-reason", named, person="admin").json()["disabled_reason"] == "new disks"
    ref = cloud.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
    wait_for(cloud, "volumes", ref, "error")
    assert "node1@fake: it is disabled: new disks" in messages(cloud, ref)[0]["user_message"]
    assert cloud.put("/volume/v3/os-services/enable", named, person="admin").json()["status"] == "enabled"
    ref = cloud.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
    wait_for(cloud, "volumes", ref, "available")


def test_pools_capabilities_hosts_and_zones(cloud: Cloud, make: Make) -> None:
    make(size=4)
    (pool,) = cloud.get("/volume/v3/scheduler-stats/get_pools", detail=True, person="admin").json()["pools"]
    assert (pool["name"], pool["capabilities"]["total_capacity_gb"]) == ("node1@fake#fake", 1000)
    assert cloud.get("/volume/v3/capabilities/node1@fake", person="admin").json()["volume_backend_name"] == "fake"
    total = cloud.get("/volume/v3/os-hosts/node1@fake", person="admin").json()["host"][0]["resource"]
    assert (total["project"], total["volume_count"], total["total_volume_gb"]) == ("(total)", "1", "4")
    assert cloud.get("/volume/v3/os-availability-zone").json() == {"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}}]}


def test_versions_and_extensions(cloud: Cloud) -> None:
    assert cloud.get("/volume/", person="nobody").status == 300
    assert cloud.get("/volume/v3/", person="nobody").json()["versions"][0]["version"] == "3.71"
    assert cloud.get(VOLUMES, version="volume 3.72").status == 406
    assert cloud.get("/volume/v3/extensions").json()["extensions"]


def test_the_default_quota_class(cloud: Cloud) -> None:
    assert cloud.put("/volume/v3/os-quota-class-sets/default", {"quota_class_set": {"volumes": 3}}, person="admin").status == 200
    project = "1" * 32
    assert cloud.get(f"/volume/v3/os-quota-sets/{project}").json()["quota_set"]["volumes"] == 3
    assert cloud.get(f"/volume/v3/os-quota-sets/{project}", person="stranger").status == 403
    for wrong in ({"volumes": "many"}, {"volumes": -2}, {"colours": 1}):
        assert cloud.put(f"/volume/v3/os-quota-sets/{project}", {"quota_set": wrong}, person="admin").status == 400


@pytest.mark.parametrize("place", ["os-volume-manage", "os-snapshot-manage"])
def test_what_is_not_here_is_refused_in_words(cloud: Cloud, place: str) -> None:
    body = {"volume": {"host": "x"}, "snapshot": {}}
    told = cloud.post(f"/volume/v3/{place}", body, person="admin")
    assert told.status == 400
    assert "none can be taken in" in told.json()["badRequest"]["message"]


def test_groups_of_volumes(cloud: Cloud, make: Make) -> None:
    kind = cloud.post("/volume/v3/group_types", {"group_type": {"name": "g"}}, person="admin", version=V).json()["group_type"]["id"]
    body = {"group": {"name": "pair", "group_type": kind, "volume_types": ["__DEFAULT__"]}}
    group = cloud.post("/volume/v3/groups", body, version=V).json()["group"]["id"]
    first, second = make(group_id=group), make()
    assert cloud.put(f"/volume/v3/groups/{group}", {"group": {"add_volumes": second["id"]}}, version=V).status == 202
    seen = cloud.get(f"/volume/v3/groups/{group}", version=V, list_volume=True).json()["group"]
    assert seen["volumes"] == [first["id"], second["id"]]
    assert cloud.delete(f"{VOLUMES}/{first['id']}").status == 400

    told = cloud.post("/volume/v3/group_snapshots", {"group_snapshot": {"group_id": group}}, version=V)
    points = told.json()["group_snapshot"]["id"]
    cloud.wait(lambda: cloud.get(f"/volume/v3/group_snapshots/{points}", version=V).json()["group_snapshot"]["status"] == "available")
    copy = cloud.post("/volume/v3/groups/action", {"create-from-src": {"group_snapshot_id": points, "name": "copy"}}, version=V).json()["group"]["id"]
    cloud.wait(lambda: cloud.get(f"/volume/v3/groups/{copy}", version=V).json()["group"]["status"] == "available")
    copies = [one["id"] for one in cloud.get(VOLUMES, group_id=copy, version=V).json()["volumes"]]
    assert len(copies) == 2
    assert show(cloud, "volumes", copies[0])["status"] == "available"

    assert cloud.post(f"/volume/v3/groups/{copy}/action", {"delete": {"delete-volumes": False}}, version=V).status == 400
    assert cloud.delete(f"/volume/v3/group_snapshots/{points}", version=V).status == 202
    cloud.wait(lambda: cloud.get(f"/volume/v3/group_snapshots/{points}", version=V).status == 404)
    assert cloud.post(f"/volume/v3/groups/{copy}/action", {"delete": {"delete-volumes": True}}, version=V).status == 202
    cloud.wait(lambda: cloud.get(f"/volume/v3/groups/{copy}", version=V).status == 404)
    for ref in copies:
        gone(cloud, "volumes", ref)


def test_a_delete_right_behind_a_create_wins(cloud: Cloud) -> None:
    for _ in range(20):
        ref = cloud.post(VOLUMES, {"volume": {"size": 1}}).json()["volume"]["id"]
        assert cloud.delete(f"{VOLUMES}/{ref}").status == 202
        gone(cloud, "volumes", ref)
    assert cloud.program.parts["block_storage.driver"].world.volumes == {}
