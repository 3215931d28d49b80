"""Images as records: created with any properties, found by them, changed by patches, kept from strangers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi.kernel.ids import new_id
from pilvi.kernel.testing.cloud import Cloud, Told
from pilvi.kernel.testing.people import OTHER_PROJECT, PROJECT

PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
OLD_PATCH = {"content-type": "application/openstack-images-v2.0-json-patch"}


def make(cloud: Cloud, person: str = "member", **body: Any) -> dict[str, Any]:
    told = cloud.post("/image/v2/images", {"disk_format": "raw", "container_format": "bare", **body}, person=person)
    assert told.status == 201, told
    return told.json()


def patch(cloud: Cloud, image_id: str, *steps: dict[str, Any], person: str = "member", headers: dict[str, str] = PATCH) -> Told:
    return cloud.patch(f"/image/v2/images/{image_id}", list(steps), person=person, headers=headers)


def names(cloud: Cloud, person: str = "member", **query: Any) -> list[str]:
    told = cloud.get("/image/v2/images", person=person, **query)
    assert told.status == 200, told
    return [image["name"] for image in told.json()["images"]]


def test_an_image_is_told_with_its_properties_beside_its_attributes(cloud: Cloud) -> None:
    told = cloud.post("/image/v2/images", {"name": "a", "hw_disk_bus": "virtio", "tags": ["x", "x"]})
    image = told.json()
    assert told.headers["location"].endswith(f"/image/v2/images/{image['id']}")
    assert (image["status"], image["visibility"], image["hw_disk_bus"], image["tags"]) == ("queued", "shared", "virtio", ["x"])
    assert image["owner"] == PROJECT
    assert cloud.get(f"/image/v2/images/{image['id']}").json() == image


def test_a_chosen_id_is_taken_once(cloud: Cloud) -> None:
    chosen = new_id()
    make(cloud, id=chosen)
    assert cloud.post("/image/v2/images", {"id": chosen}).status == 409
    assert cloud.post("/image/v2/images", {"id": "me"}).status == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"disk_format": "wrong"}, 400), ({"container_format": "wrong"}, 400), ({"min_disk": -1}, 400), ({"min_ram": "4"}, 400),
        ({"protected": "yes"}, 400), ({"visibility": "secret"}, 400), ({"name": "n" * 256}, 400), ({"speed": 88}, 400),
        ({"status": "active"}, 403), ({"os_glance_foo": "bar"}, 403), ({"visibility": "public"}, 403), ({"owner": OTHER_PROJECT}, 403),
        ([], 400),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(cloud: Cloud, body: Any, status: int) -> None:
    assert cloud.post("/image/v2/images", body).status == status
    assert names(cloud) == []


def test_filters_and_order(cloud: Cloud) -> None:
    make(cloud, name="a", os_distro="debian", tags=["one", "two"], min_ram=5)
    make(cloud, name="b", os_distro="fedora", tags=["two"])
    make(cloud, name="c,d", os_distro="debian", protected=True, os_hidden=False)
    make(cloud, name="hidden", os_hidden=True)
    assert sorted(names(cloud, os_distro="debian")) == ["a", "c,d"]
    assert names(cloud, tag=["one", "two"]) == ["a"]
    assert names(cloud, name='in:b,"c,d"', sort="name:desc") == ["c,d", "b"]
    assert names(cloud, sort_key="name", sort_dir="asc") == ["a", "b", "c,d"]
    assert names(cloud, protected="true") == ["c,d"]
    assert names(cloud, os_hidden="true") == ["hidden"]
    assert names(cloud, min_ram_min=3) == ["a"]
    assert names(cloud, created_at="lt:2001-01-01T00:00:00Z") == []
    assert len(names(cloud, created_at="gte:2001-01-01T00:00:00Z")) == 3
    for wrong in ({"size_min": "x"}, {"created_at": "gt:tomorrow"}, {"sort": "name:up"}, {"sort": "color"}, {"visibility": "odd"}, {"marker": "x"}):
        assert cloud.get("/image/v2/images", **wrong).status == 400, wrong


def test_pages_lead_on(cloud: Cloud) -> None:
    for name in "abc":
        make(cloud, name=name)
    first = cloud.get("/image/v2/images", limit=2, sort="name:asc").json()
    assert [image["name"] for image in first["images"]] == ["a", "b"]
    rest = cloud.get("/image" + first["next"]).json()
    assert [image["name"] for image in rest["images"]] == ["c"]
    assert "next" not in rest


def test_who_sees_what(cloud: Cloud) -> None:
    private = make(cloud, name="private", visibility="private")
    community = make(cloud, name="community", visibility="community")
    make(cloud, person="admin", name="public", visibility="public")
    assert names(cloud, "stranger") == ["public"]
    assert sorted(names(cloud, "stranger", visibility="all")) == ["community", "public"]
    assert names(cloud, "stranger", visibility="community") == ["community"]
    assert cloud.get(f"/image/v2/images/{private['id']}", person="stranger").status == 404
    assert cloud.get(f"/image/v2/images/{community['id']}", person="stranger").status == 200
    assert cloud.delete(f"/image/v2/images/{community['id']}", person="stranger").status == 403
    assert cloud.delete(f"/image/v2/images/{private['id']}", person="reader").status == 403
    assert sorted(names(cloud, "admin")) == ["community", "private", "public"]


def test_patches_in_both_forms(cloud: Cloud) -> None:
    image_id = make(cloud, name="old", os_distro="debian", speed="1")["id"]
    steps = [
        {"op": "replace", "path": "/name", "value": "new"}, {"op": "add", "path": "/a~1b", "value": "x"}, {"op": "remove", "path": "/speed"},
    ]  # fmt: skip
    changed = patch(cloud, image_id, *steps).json()
    assert (changed["name"], changed["a/b"], "speed" in changed) == ("new", "x", False)
    assert patch(cloud, image_id, {"replace": "/name", "value": "older"}, headers=OLD_PATCH).json()["name"] == "older"
    assert names(cloud, **{"a/b": "x"}) == ["older"]


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ({"op": "replace", "path": "/id", "value": "x"}, 403), ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "add", "path": "/os_glance_x", "value": "x"}, 403), ({"op": "remove", "path": "/name"}, 403),
        ({"op": "replace", "path": "/absent", "value": "x"}, 409), ({"op": "remove", "path": "/absent"}, 409),
        ({"op": "move", "path": "/name", "value": "x"}, 400), ({"op": "add", "path": "name", "value": "x"}, 400),
        ({"op": "add", "path": "/a/b", "value": "x"}, 400), ({"op": "add", "path": "/name"}, 400), ({"op": "add", "path": "/x", "value": 1}, 400),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403), ({"op": "replace", "path": "/owner", "value": "x"}, 403),
        ({"op": "add", "path": "/locations/-", "value": {"url": "file:///etc/passwd"}}, 403),
    ],
)  # fmt: skip
def test_patches_that_are_refused_change_nothing(cloud: Cloud, step: dict[str, Any], status: int) -> None:
    image = make(cloud, name="kept")
    assert patch(cloud, image["id"], {"op": "add", "path": "/first", "value": "x"}, step).status == status
    assert cloud.get(f"/image/v2/images/{image['id']}").json() == image


def test_the_stores_are_nobody_s_to_change(cloud: Cloud) -> None:
    image_id = make(cloud)["id"]
    assert patch(cloud, image_id, {"op": "remove", "path": "/stores"}).status == 200
    assert patch(cloud, image_id, {"op": "add", "path": "/stores", "value": "x"}).status == 403


def test_a_patch_of_an_unknown_form_is_415(cloud: Cloud) -> None:
    assert patch(cloud, make(cloud)["id"], headers={"content-type": "application/json"}).status == 415


def test_protected_images_stay(cloud: Cloud) -> None:
    image_id = make(cloud, protected=True)["id"]
    assert cloud.delete(f"/image/v2/images/{image_id}").status == 403
    assert patch(cloud, image_id, {"op": "replace", "path": "/protected", "value": False}).status == 200
    assert cloud.delete(f"/image/v2/images/{image_id}").status == 204
    assert cloud.delete(f"/image/v2/images/{image_id}").status == 404


def test_tags(cloud: Cloud) -> None:
    at = f"/image/v2/images/{make(cloud)['id']}"
    for _ in range(2):
        assert cloud.put(f"{at}/tags/blue").status == 204
    assert cloud.get(at).json()["tags"] == ["blue"]
    assert cloud.delete(f"{at}/tags/blue").status == 204
    assert cloud.delete(f"{at}/tags/blue").status == 404


def test_members_accept_what_is_shared_with_them(cloud: Cloud) -> None:
    at = f"/image/v2/images/{make(cloud, name='shared')['id']}"
    assert cloud.get(at, person="stranger").status == 404
    told = cloud.post(f"{at}/members", {"member": OTHER_PROJECT})
    assert (told.status, told.json()["status"]) == (200, "pending")
    assert cloud.post(f"{at}/members", {"member": OTHER_PROJECT}).status == 409
    assert cloud.get(at, person="stranger").status == 200
    assert names(cloud, "stranger") == []
    assert names(cloud, "stranger", visibility="shared", member_status="pending") == ["shared"]
    mine = f"{at}/members/{OTHER_PROJECT}"
    assert cloud.put(mine, {"status": "accepted"}).status == 403
    assert cloud.put(mine, {"status": "odd"}, person="stranger").status == 400
    assert cloud.put(mine, {"status": "accepted"}, person="stranger").json()["status"] == "accepted"
    assert names(cloud, "stranger") == ["shared"]
    assert cloud.delete(mine, person="stranger").status == 403
    assert cloud.delete(mine).status == 204
    assert cloud.get(at, person="stranger").status == 404
    private = make(cloud, visibility="private")["id"]
    assert cloud.post(f"/image/v2/images/{private}/members", {"member": OTHER_PROJECT}).status == 403


def test_the_number_of_images_is_limited(make_cloud: Callable[..., Cloud]) -> None:
    cloud = make_cloud(image_count_total=1)
    first = make(cloud)
    assert cloud.post("/image/v2/images", {}).status == 413
    assert cloud.get("/image/v2/info/usage").json()["usage"]["image_count_total"] == {"usage": 1, "limit": 1}
    cloud.delete(f"/image/v2/images/{first['id']}")
    make(cloud)


def test_versions_and_schemas(cloud: Cloud) -> None:
    told = cloud.get("/image/", person="nobody")
    assert (told.status, told.json()["versions"][0]["id"], told.json()["versions"][0]["status"]) == (300, "v2.16", "CURRENT")
    for name in ("image", "images", "member", "members", "task", "tasks", "metadefs/namespace", "metadefs/resource_types"):
        assert cloud.get(f"/image/v2/schemas/{name}").status == 200, name
    assert cloud.get("/image/v2/schemas/pony").status == 404
    assert cloud.get("/image/v2/images", person="nobody").status == 401


def test_metadata_definitions(cloud: Cloud) -> None:
    at = "/image/v2/metadefs/namespaces"
    assert cloud.post(at, {"namespace": "n"}, person="member").status == 403
    body = {"namespace": "n", "visibility": "public", "protected": True, "resource_type_associations": [{"name": "OS::Nova::Server"}]}
    assert cloud.post(at, body, person="admin").status == 201
    assert cloud.post(at, body, person="admin").status == 409
    told = {"name": "cores", "title": "Cores", "type": "integer"}
    assert cloud.post(f"{at}/n/properties", told, person="admin").status == 201
    assert cloud.post(f"{at}/n/objects", {"name": "cpu"}, person="admin").status == 201
    assert cloud.post(f"{at}/n/tags", {"tags": [{"name": "a"}, {"name": "b"}]}, person="admin").status == 201
    assert cloud.put(f"{at}/n/objects/cpu", {"name": "processor"}, person="admin").json()["name"] == "processor"
    found = cloud.get(f"{at}/n").json()
    assert found["properties"] == {"cores": {"title": "Cores", "type": "integer"}}
    assert [one["name"] for one in found["objects"]] == ["processor"]
    assert [one["name"] for one in found["tags"]] == ["a", "b"]
    assert [one["name"] for one in found["resource_type_associations"]] == ["OS::Nova::Server"]
    assert cloud.delete(f"{at}/n", person="admin").status == 403
    assert cloud.put(f"{at}/n", {"namespace": "m", "visibility": "private"}, person="admin").status == 200
    assert cloud.get(f"{at}/m", person="stranger").status == 404
    assert cloud.delete(f"{at}/m", person="admin").status == 204
    assert cloud.get(at).json()["namespaces"] == []
