"""The catalog: regions, services, endpoints, and what clients get of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.identity.conftest import World


def _url(world: World, type_: str, token: str | None = None) -> list[str]:
    catalog = world.get("/auth/catalog", token=token).json()["catalog"]
    return [one["url"] for service in catalog if service["type"] == type_ for one in service["endpoints"]]


def test_an_endpoint_is_found_by_clients_at_once(world: World, bob: dict[str, Any]) -> None:
    service = world.make("service", type="weather", name="frog", description="d")
    assert service["description"] == "d"
    assert _url(world, "weather") == []
    url = "http://frog.test/v1/$(project_id)s"
    endpoint = world.make("endpoint", service_id=service["id"], interface="public", url=url, region="Pond")
    assert (endpoint["region"], endpoint["region_id"], endpoint["enabled"]) == ("Pond", "Pond", True)
    assert _url(world, "weather", bob["token"]) == [f"http://frog.test/v1/{bob['project']['id']}"]
    assert "http://frog.test" in world.ask(bob["token"]).content.decode()
    system = world.login("admin", "opensesame", {"system": {"all": True}}).headers["x-subject-token"]
    assert _url(world, "weather", system) == []
    assert world.patch(f"/endpoints/{endpoint['id']}", {"endpoint": {"url": "http://toad.test"}}).status == 200
    assert _url(world, "weather", bob["token"]) == ["http://toad.test"]
    assert world.patch(f"/services/{service['id']}", {"service": {"enabled": False}}).status == 200
    assert "weather" not in world.get("/auth/catalog").content.decode()
    assert world.delete(f"/services/{service['id']}").status == 204
    assert world.get(f"/endpoints/{endpoint['id']}").status == 404


def test_a_token_without_scope_has_no_catalog(world: World, bob: dict[str, Any]) -> None:
    token = world.login("bob", "bobs", "unscoped").headers["x-subject-token"]
    assert world.get("/auth/catalog", token=token).status == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"interface": "inner"}, 400), ({"url": "nowhere"}, 400), ({"url": "http://x/$(secret)s"}, 400), ({"url": "http://x/$(project_id"}, 400),
        ({"service_id": "none"}, 400), ({"region_id": "none"}, 400), ({"region": ""}, 400), ({"url": "http://x/%(tenant_id)s"}, 201),
    ],
)  # fmt: skip
def test_what_an_endpoint_can_be(world: World, change: Any, status: int) -> None:
    service = world.make("service", type="weather")
    body = {"service_id": service["id"], "interface": "public", "url": "http://x", **change}
    assert world.post("/endpoints", {"endpoint": body}).status == status


def test_regions(world: World) -> None:
    world.make("region", id="north", description="cold")
    assert world.put("/regions/north%2Fpole", {"region": {"parent_region_id": "north"}}).json()["region"]["id"] == "north/pole"
    assert world.post("/regions", {"region": {"id": "north"}}).status == 409
    assert world.put("/regions/a", {"region": {"id": "b"}}).status == 400
    assert world.patch("/regions/north", {"region": {"parent_region_id": "north/pole"}}).status == 400
    assert world.patch("/regions/north", {"region": {"parent_region_id": "none"}}).status == 404
    assert [one["id"] for one in world.get("/regions", parent_region_id="north").json()["regions"]] == ["north/pole"]
    assert world.delete("/regions/north").status == 204
    assert world.get("/regions/north%2Fpole").status == 404
    assert world.delete("/regions/RegionOne").status == 403


def test_endpoints_are_listed_by_what_they_are(world: World) -> None:
    (service,) = world.get("/services", type="identity").json()["services"]
    assert service["name"] == "keystone"
    assert len(world.get("/endpoints", service_id=service["id"]).json()["endpoints"]) == 3
    (public,) = world.get("/endpoints", service_id=service["id"], interface="public").json()["endpoints"]
    assert public["url"] == "http://127.0.0.1:8765/identity/v3"


# -- endpoint filters ------------------------------------------------------------------------------


def test_a_project_that_was_given_endpoints_sees_only_these(world: World, bob: dict[str, Any]) -> None:
    service = world.make("service", type="weather")
    public = world.make("endpoint", service_id=service["id"], interface="public", url="http://public.test")
    world.make("endpoint", service_id=service["id"], interface="internal", url="http://internal.test")
    project, at = bob["project"]["id"], "/OS-EP-FILTER"
    given = f"{at}/projects/{project}/endpoints/{public['id']}"
    assert world.get(given).status == 404
    assert world.put(given, token=bob["token"]).status == 403
    assert [world.put(given).status, world.say("HEAD", given).status] == [204, 204]
    assert _url(world, "weather", bob["token"]) == ["http://public.test"]
    assert _url(world, "identity", bob["token"]) == []
    assert len(_url(world, "weather")) == 2
    assert [one["id"] for one in world.get(f"{at}/projects/{project}/endpoints").json()["endpoints"]] == [public["id"]]
    assert [one["id"] for one in world.get(f"{at}/endpoints/{public['id']}/projects").json()["projects"]] == [project]
    assert [world.delete(given).status, world.delete(given).status] == [204, 404]
    assert len(_url(world, "weather", bob["token"])) == 2


def test_endpoints_are_given_in_groups(world: World, bob: dict[str, Any]) -> None:
    project, at = bob["project"]["id"], "/OS-EP-FILTER/endpoint_groups"
    body = {"endpoint_group": {"name": "inner", "filters": {"interface": "internal"}}}
    group = world.post(at, body).json()["endpoint_group"]
    assert world.post(at, {"endpoint_group": {"name": "x", "filters": {"colour": "red"}}}).status == 400
    given = f"{at}/{group['id']}/projects/{project}"
    assert [world.get(given).status, world.put(given).status, world.get(given).status] == [404, 204, 200]
    assert len(_url(world, "identity", bob["token"])) == 1
    assert len(_url(world, "identity")) == 3
    assert [one["interface"] for one in world.get(f"{at}/{group['id']}/endpoints").json()["endpoints"]] == ["internal"]
    assert [one["id"] for one in world.get(f"{at}/{group['id']}/projects").json()["projects"]] == [project]
    assert [one["id"] for one in world.get(f"/OS-EP-FILTER/projects/{project}/endpoint_groups").json()["endpoint_groups"]] == [group["id"]]
    assert world.patch(f"{at}/{group['id']}", {"endpoint_group": {"filters": {"interface": "admin"}}}).status == 200
    assert [one["interface"] for one in world.get(f"/OS-EP-FILTER/projects/{project}/endpoints").json()["endpoints"]] == ["admin"]
    assert world.delete(given).status == 204
    assert world.put(given).status == 204
    assert world.delete(f"{at}/{group['id']}").status == 204
    assert world.get(f"{at}/{group['id']}").status == 404
    assert len(_url(world, "identity", bob["token"])) == 3
