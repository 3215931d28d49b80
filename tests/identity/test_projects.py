"""Projects, domains and tags."""

from __future__ import annotations

from typing import Any

import pytest

from tests.identity.conftest import World


def test_projects_form_a_tree(world: World) -> None:
    top = world.make("project", name="top", cost_centre=7)
    assert (top["parent_id"], top["domain_id"], top["cost_centre"]) == ("default", "default", 7)
    middle = world.make("project", name="middle", parent_id=top["id"])
    leaf = world.make("project", name="leaf", parent_id=middle["id"])

    def show(project: dict[str, Any], what: str) -> Any:
        return world.get(f"/projects/{project['id']}?{what}").json()["project"]

    assert show(leaf, "parents_as_ids")["parents"] == {middle["id"]: {top["id"]: {"default": None}}}
    assert [one["project"]["name"] for one in show(leaf, "parents_as_list")["parents"]] == ["middle", "top", "Default"]
    assert show(top, "subtree_as_ids")["subtree"] == {middle["id"]: {leaf["id"]: None}}
    assert [one["project"]["name"] for one in show(top, "subtree_as_list")["subtree"]] == ["middle", "leaf"]
    assert world.get(f"/projects/{top['id']}?subtree_as_ids&subtree_as_list").status == 400
    assert [one["name"] for one in world.get("/projects", parent_id=top["id"]).json()["projects"]] == ["middle"]
    assert world.delete(f"/projects/{top['id']}").status == 403
    assert world.patch(f"/projects/{top['id']}", {"project": {"enabled": False}}).status == 403
    assert world.patch(f"/projects/{leaf['id']}", {"project": {"parent_id": top["id"]}}).status == 403


def test_a_tree_has_an_end(world: World) -> None:
    parent = "default"
    for level in range(5):
        parent = world.make("project", name=f"p{level}", parent_id=parent)["id"]
    assert world.post("/projects", {"project": {"name": "p5", "parent_id": parent}}).status == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "x" * 65}, 400), ({"name": ""}, 400), ({"name": "admin"}, 409), ({"name": "p", "parent_id": "none"}, 404),
        ({"name": "p", "domain_id": "none"}, 404), ({"name": "p", "tags": ["a", "a"]}, 400), ({"name": "p", "tags": ["a,b"]}, 400),
        ({"name": "p", "is_domain": True, "domain_id": "default"}, 400),
    ],
)  # fmt: skip
def test_what_no_project_can_be(world: World, body: Any, status: int) -> None:
    assert world.post("/projects", {"project": body}).status == status


def test_projects_are_found_by_tags(world: World) -> None:
    for name, tags in (("a", ["red", "big"]), ("b", ["red"]), ("c", ["Red", 'x"red"x'])):
        world.make("project", name=name, tags=tags)

    def names(**query: str) -> list[str]:
        return sorted(one["name"] for one in world.get("/projects", **query).json()["projects"] if len(one["name"]) == 1)

    assert names(tags="red") == ["a", "b"]
    assert names(tags="red,big") == ["a"]
    assert names(**{"tags-any": "big,Red"}) == ["a", "c"]
    assert names(**{"not-tags": "red,big"}) == ["b", "c"]
    assert names(**{"not-tags-any": "red,big"}) == ["c"]


def test_tags_are_added_and_taken(world: World) -> None:
    project = world.make("project", name="p")
    tags = f"/projects/{project['id']}/tags"
    assert [world.put(f"{tags}/one").status, world.put(f"{tags}/two").status, world.put(f"{tags}/a,b").status] == [201, 201, 400]
    assert [world.get(f"{tags}/one").status, world.get(f"{tags}/three").status] == [204, 404]
    assert world.get(tags).json()["tags"] == ["one", "two"]
    assert [world.delete(f"{tags}/one").status, world.delete(f"{tags}/one").status] == [204, 404]
    assert world.put(tags, {"tags": ["x", "y"]}).json()["tags"] == ["x", "y"]
    assert world.delete(tags).status == 204
    assert world.get(f"/projects/{project['id']}").json()["project"]["tags"] == []


def test_a_domain_goes_with_all_that_is_in_it(world: World) -> None:
    domain = world.make("domain", name="d")
    project = world.make("project", name="p", domain_id=domain["id"])
    child = world.make("project", name="c", parent_id=project["id"])
    user = world.make("user", name="u", domain_id=domain["id"])
    group = world.make("group", name="g", domain_id=domain["id"])
    role = world.make("role", name="r", domain_id=domain["id"])
    assert child["domain_id"] == domain["id"]
    assert world.delete(f"/domains/{domain['id']}").status == 403
    assert world.patch(f"/domains/{domain['id']}", {"domain": {"enabled": False}}).status == 200
    assert world.delete(f"/domains/{domain['id']}").status == 204
    gone = [f"/projects/{project['id']}", f"/projects/{child['id']}", f"/users/{user['id']}", f"/groups/{group['id']}", f"/roles/{role['id']}"]
    assert [world.get(path).status for path in gone] == [404] * 5


def test_a_domain_is_a_project_too(world: World) -> None:
    told = world.make("project", name="d", is_domain=True)
    assert (told["domain_id"], told["parent_id"]) == (None, None)
    assert world.get(f"/domains/{told['id']}").json()["domain"]["name"] == "d"
    assert "d" not in [one["name"] for one in world.get("/projects").json()["projects"]]
    assert "d" in [one["name"] for one in world.get("/projects", is_domain="true").json()["projects"]]
    assert world.post("/domains", {"domain": {"name": "d"}}).status == 409
    assert world.get(f"/domains/{world.make('project', name='p')['id']}").status == 404
