"""Roles, implication, grants and assignments."""

from __future__ import annotations

from typing import Any

from tests.identity.conftest import World


def _held(world: World, **query: str) -> set[tuple[str, str]]:
    """(role, project) pairs of the effective assignments."""
    told = world.get("/role_assignments?effective&include_names", **query).json()["role_assignments"]
    return {(one["role"]["name"], one["scope"].get("project", {}).get("name", "")) for one in told}


def test_one_role_implies_another(world: World, bob: dict[str, Any]) -> None:
    pilot, walker = world.make("role", name="pilot"), world.make("role", name="walker")
    rule = f"/roles/{pilot['id']}/implies/{walker['id']}"
    assert world.get(rule).status == 404
    told = world.put(rule)
    assert told.status == 201
    assert told.json()["role_inference"]["implies"]["name"] == "walker"
    assert [world.say("HEAD", rule).status, world.get(rule).status] == [204, 200]
    assert world.put(f"/roles/{walker['id']}/implies/{pilot['id']}").status == 400
    assert world.put(f"/roles/{pilot['id']}/implies/{world.role('admin')}").status == 403
    world.grant(bob["user"]["id"], "pilot", project=bob["project"]["id"])
    assert {"pilot", "walker"} <= {role["name"] for role in world.ask(bob["token"]).json()["token"]["roles"]}
    listed = world.get("/role_inferences").json()["role_inferences"]
    assert ["walker"] in [[one["name"] for one in rule["implies"]] for rule in listed]
    assert [world.delete(rule).status, world.delete(rule).status] == [204, 404]
    assert "walker" not in {role["name"] for role in world.ask(bob["token"]).json()["token"]["roles"]}


def test_a_domains_role_stands_for_those_that_it_implies(world: World, bob: dict[str, Any]) -> None:
    own = world.make("role", name="boss", domain_id="default")
    project, user = bob["project"]["id"], bob["user"]["id"]
    assert world.put(f"/roles/{own['id']}/implies/{world.role('manager')}").status == 201
    assert world.put(f"/roles/{world.role('manager')}/implies/{own['id']}").status == 403
    assert world.put(f"/projects/{project}/users/{user}/roles/{own['id']}").status == 204
    assert [role["name"] for role in world.ask(bob["token"]).json()["token"]["roles"]] == ["manager", "member", "reader"]
    elsewhere = world.make("domain", name="d")
    there = world.make("project", name="p", domain_id=elsewhere["id"])
    assert world.put(f"/projects/{there['id']}/users/{user}/roles/{own['id']}").status == 403
    assert "boss" not in [one["name"] for one in world.get("/roles").json()["roles"]]
    assert [one["name"] for one in world.get("/roles", domain_id="default").json()["roles"]] == ["boss"]


def test_grants_on_projects_domains_and_the_system(world: World, bob: dict[str, Any]) -> None:
    user, role = bob["user"]["id"], world.role("reader")
    for place in (f"/projects/{bob['project']['id']}", "/domains/default", "/system"):
        grant = f"{place}/users/{user}/roles/{role}"
        assert world.get(grant).status == 404
        assert [world.put(grant).status, world.put(grant).status, world.say("HEAD", grant).status] == [204, 204, 204]
        assert "reader" in [one["name"] for one in world.get(f"{place}/users/{user}/roles").json()["roles"]]
        assert [world.delete(grant).status, world.delete(grant).status] == [204, 404]
    assert world.put(f"/projects/none/users/{user}/roles/{role}").status == 404
    assert world.put(f"/domains/default/users/none/roles/{role}").status == 404
    assert world.put(f"/system/users/{user}/roles/none").status == 404
    assert world.put(f"/domains/{bob['project']['id']}/users/{user}/roles/{role}").status == 404


def test_an_inherited_role_holds_below_and_not_there(world: World, bob: dict[str, Any]) -> None:
    user, role = bob["user"]["id"], world.role("reader")
    top = world.make("project", name="top")
    leaf = world.make("project", name="leaf", parent_id=top["id"])
    path = f"/OS-INHERIT/projects/{top['id']}/users/{user}/roles"
    assert world.put(f"{path}/{role}/inherited_to_projects").status == 204
    assert world.say("HEAD", f"{path}/{role}/inherited_to_projects").status == 204
    assert [one["name"] for one in world.get(f"{path}/inherited_to_projects").json()["roles"]] == ["reader"]
    assert world.exchange(bob["token"], {"project": {"id": top["id"]}}).status == 401
    assert world.exchange(bob["token"], {"project": {"id": leaf["id"]}}).status == 201
    assert {one["name"] for one in world.get(f"/users/{user}/projects").json()["projects"]} == {"lab", "leaf"}
    written = world.get("/role_assignments", **{"user.id": user, "scope.OS-INHERIT:inherited_to": "projects"}).json()["role_assignments"]
    assert [one["scope"] for one in written] == [{"project": {"id": top["id"]}, "OS-INHERIT:inherited_to": "projects"}]
    assert _held(world, **{"user.id": user}) == {("member", "lab"), ("reader", "lab"), ("reader", "leaf")}
    assert _held(world, **{"user.id": user, "scope.project.id": leaf["id"]}) == {("reader", "leaf")}
    assert _held(world, **{"user.id": user, "scope.project.id": top["id"]}) == set()
    world.put(f"/OS-INHERIT/domains/default/users/{user}/roles/{role}/inherited_to_projects")
    assert world.exchange(bob["token"], {"project": {"id": top["id"]}}).status == 201


def test_assignments_say_where_they_come_from(world: World, bob: dict[str, Any]) -> None:
    group = world.make("group", name="g")
    world.put(f"/groups/{group['id']}/users/{bob['user']['id']}")
    world.put(f"/projects/{bob['project']['id']}/groups/{group['id']}/roles/{world.role('manager')}")
    query = {"user.id": bob["user"]["id"], "role.id": world.role("manager")}
    (told,) = world.get("/role_assignments?effective", **query).json()["role_assignments"]
    at = "http://cloud.test/identity/v3"
    assert told["links"] == {
        "assignment": f"{at}/projects/{bob['project']['id']}/groups/{group['id']}/roles/{world.role('manager')}",
        "membership": f"{at}/groups/{group['id']}/users/{bob['user']['id']}",
    }
    (named,) = world.get("/role_assignments?include_names", **{"group.id": group["id"]}).json()["role_assignments"]
    assert named["group"] == {"id": group["id"], "name": "g", "domain": {"id": "default", "name": "Default"}}


def test_assignments_of_a_tree_and_of_the_system(world: World, bob: dict[str, Any]) -> None:
    leaf = world.make("project", name="leaf", parent_id=bob["project"]["id"])
    world.grant(bob["user"]["id"], "reader", project=leaf["id"])
    told = world.get("/role_assignments?include_subtree=true", **{"scope.project.id": bob["project"]["id"]}).json()["role_assignments"]
    assert {one["scope"]["project"]["id"] for one in told} == {bob["project"]["id"], leaf["id"]}
    system = world.get("/role_assignments", **{"scope.system": "all"}).json()["role_assignments"]
    assert [one["scope"] for one in system] == [{"system": {"all": True}}]
    for wrong in ({"user.id": "a", "group.id": "b"}, {"scope.project.id": "a", "scope.domain.id": "b"}, {"include_subtree": "1"}):
        assert world.get("/role_assignments", **wrong).status == 400
    assert world.get("/role_assignments?effective", **{"group.id": "a"}).status == 400


def test_the_clouds_own_roles_cannot_be_lost_by_mistake(world: World) -> None:
    assert world.delete(f"/roles/{world.role('admin')}").status == 403
    assert world.patch(f"/roles/{world.role('member')}", {"role": {"name": "x"}}).status == 403
    assert world.post("/roles", {"role": {"name": "member"}}).status == 409
