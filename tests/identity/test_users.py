"""Users and groups."""

from __future__ import annotations

from typing import Any

import pytest

from tests.identity.conftest import World


def test_other_attributes_are_kept(world: World) -> None:
    user = world.make("user", name="u", email="u@example.org", description=None, nested={"a": [1]})
    assert (user["email"], user["description"], user["nested"]) == ("u@example.org", None, {"a": [1]})
    told = world.patch(f"/users/{user['id']}", {"user": {"email": "v@example.org", "more": 1}}).json()["user"]
    assert (told["email"], told["nested"], told["more"]) == ("v@example.org", {"a": [1]}, 1)
    assert world.get(f"/users/{user['id']}").json()["user"] == told
    assert told["links"] == {"self": f"http://cloud.test/identity/v3/users/{user['id']}"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": ""}, 400), ({"name": "  "}, 400), ({"name": "x" * 256}, 400), ({}, 400), ({"name": "u", "enabled": "yes"}, 400),
        ({"name": "u", "domain_id": "none"}, 404), ({"name": "admin"}, 409), ({"name": "u", "password": ""}, 400),
        ({"name": "u", "options": {"unknown": 1}}, 400), ({"name": "u", "options": {"multi_factor_auth_rules": [[]]}}, 400),
    ],
)  # fmt: skip
def test_what_no_user_can_be(world: World, body: Any, status: int) -> None:
    assert world.post("/users", {"user": body}).status == status


def test_a_user_is_changed_and_deleted(world: World, bob: dict[str, Any]) -> None:
    path = f"/users/{bob['user']['id']}"
    assert world.patch(path, {"user": {"name": "admin"}}).status == 409
    assert world.patch(path, {"user": {"domain_id": "other"}}).status == 400
    told = world.patch(path, {"user": {"name": "robert", "enabled": False, "default_project_id": bob["project"]["id"]}}).json()["user"]
    assert (told["name"], told["enabled"], told["default_project_id"]) == ("robert", False, bob["project"]["id"])
    assert "default_project_id" not in world.patch(path, {"user": {"default_project_id": None}}).json()["user"]
    assert world.delete(path).status == 204
    assert world.get(path).status == 404
    assert world.get("/role_assignments", **{"user.id": bob["user"]["id"]}).json()["role_assignments"] == []


def test_what_is_immutable_stays(world: World) -> None:
    user = world.make("user", name="u", options={"immutable": True})
    path = f"/users/{user['id']}"
    assert world.patch(path, {"user": {"name": "v"}}).status == 403
    assert world.patch(path, {"user": {"name": "v", "options": {"immutable": None}}}).status == 403
    assert world.delete(path).status == 403
    assert world.patch(path, {"user": {"options": {"immutable": None}}}).json()["user"]["options"] == {}
    assert world.delete(path).status == 204


def test_users_are_listed_by_what_they_are(world: World) -> None:
    domain = world.make("domain", name="d")
    for name in ("anna", "ben", "Bert"):
        world.make("user", name=name, domain_id=domain["id"], enabled=name != "ben")

    def names(**query: Any) -> list[str]:
        return sorted(user["name"] for user in world.get("/users", domain_id=domain["id"], **query).json()["users"])

    assert names() == ["Bert", "anna", "ben"]
    assert names(name="anna") == ["anna"]
    assert names(enabled="false") == ["ben"]
    assert names(enabled="") == ["Bert", "anna"]
    assert names(name__icontains="BE") == ["Bert", "ben"]
    assert names(name__startswith="be", enabled="0") == ["ben"]
    assert names(name__endswith="%") == []
    assert names(password_expires_at="lt:2099-01-01T00:00:00Z") == []
    assert world.get("/users", password_expires_at="lt:never").status == 400


def test_a_list_comes_in_pages(world: World) -> None:
    wanted = {world.make("user", name=f"u{number}")["id"] for number in range(5)}
    found: list[str] = []
    told = world.get("/users", limit=2).json()
    while True:
        assert len(told["users"]) <= 2
        found += [user["id"] for user in told["users"]]
        following = told["links"]["next"]
        if following is None:
            break
        assert following.startswith("http://cloud.test/identity/v3/users?")
        told = world.get("/users?" + following.partition("?")[2]).json()
    assert len(found) == len(set(found))
    assert wanted < set(found)
    assert world.get("/users", limit="many").status == 400


def test_groups_and_who_is_in_them(world: World, bob: dict[str, Any]) -> None:
    group = world.make("group", name="g", description="d", colour="red")
    assert group["colour"] == "red"
    inside = f"/groups/{group['id']}/users/{bob['user']['id']}"
    assert world.say("HEAD", inside).status == 404
    assert [world.put(inside).status, world.put(inside).status, world.say("HEAD", inside).status] == [204, 204, 204]
    assert [user["name"] for user in world.get(f"/groups/{group['id']}/users").json()["users"]] == ["bob"]
    assert [one["name"] for one in world.get(f"/users/{bob['user']['id']}/groups", token=bob["token"]).json()["groups"]] == ["g"]
    assert world.put(f"/groups/{group['id']}/users/none").status == 404
    assert world.post("/groups", {"group": {"name": "g"}}).status == 409
    assert world.patch(f"/groups/{group['id']}", {"group": {"name": "h"}}).json()["group"]["name"] == "h"
    assert [world.delete(inside).status, world.delete(inside).status] == [204, 404]
    assert world.delete(f"/groups/{group['id']}").status == 204


def test_a_groups_roles_are_its_members(world: World, bob: dict[str, Any]) -> None:
    project, group = world.make("project", name="p"), world.make("group", name="g")
    grant = f"/projects/{project['id']}/groups/{group['id']}/roles/{world.role('reader')}"
    assert world.put(grant).status == 204
    scope = {"project": {"id": project["id"]}}
    assert world.exchange(bob["token"], scope).status == 401
    world.put(f"/groups/{group['id']}/users/{bob['user']['id']}")
    assert world.exchange(bob["token"], scope).status == 201
    world.delete(f"/groups/{group['id']}/users/{bob['user']['id']}")
    assert world.exchange(bob["token"], scope).status == 401
