"""Who may do what: administrators, system readers, managers and readers of a domain, users themselves, others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.identity.conftest import World


@pytest.fixture
def domain(world: World) -> dict[str, Any]:
    """A domain with a manager, a reader and a plain user, and their tokens for the domain."""
    domain = world.make("domain", name="d")
    tokens: dict[str, Any] = {"id": domain["id"]}
    for role in ("manager", "reader"):
        user = world.make("user", name=role, password="word", domain_id=domain["id"])
        world.grant(user["id"], role, domain=domain["id"])
        tokens[role] = world.login(role, "word", {"domain": {"id": domain["id"]}}, domain=domain["id"]).headers["x-subject-token"]
    tokens["user"] = world.make("user", name="plain", password="word", domain_id=domain["id"])
    return tokens


def test_a_domains_manager_manages_the_domain_and_nothing_else(world: World, domain: dict[str, Any]) -> None:
    token, here = domain["manager"], domain["id"]
    user = world.post("/users", {"user": {"name": "new"}}, token=token)
    assert (user.status, user.json()["user"]["domain_id"]) == (201, here)
    assert world.post("/users", {"user": {"name": "new", "domain_id": "default"}}, token=token).status == 403
    project = world.post("/projects", {"project": {"name": "p", "domain_id": here}}, token=token).json()["project"]
    assert world.post("/projects", {"project": {"name": "p", "domain_id": "default"}}, token=token).status == 403
    group = world.post("/groups", {"group": {"name": "g"}}, token=token)
    assert group.status == 201
    plain = domain["user"]["id"]
    assert world.put(f"/groups/{group.json()['group']['id']}/users/{plain}", token=token).status == 204
    assert world.put(f"/projects/{project['id']}/users/{plain}/roles/{world.role('member')}", token=token).status == 204
    assert world.put(f"/projects/{project['id']}/users/{plain}/roles/{world.role('admin')}", token=token).status == 403
    assert world.put(f"/system/users/{plain}/roles/{world.role('reader')}", token=token).status == 403
    elsewhere = world.make("project", name="elsewhere")
    assert world.put(f"/projects/{elsewhere['id']}/users/{plain}/roles/{world.role('member')}", token=token).status == 403
    assert world.post("/domains", {"domain": {"name": "x"}}, token=token).status == 403
    assert world.patch(f"/domains/{here}", {"domain": {"enabled": False}}, token=token).status == 403
    assert world.post("/domains", {"domain": {"name": "x"}}, token=token).status == 403
    assert world.delete(f"/users/{plain}", token=token).status == 204


def test_a_domains_reader_sees_the_domain_and_changes_nothing(world: World, domain: dict[str, Any]) -> None:
    token = domain["reader"]
    assert {one["domain_id"] for one in world.get("/users", token=token).json()["users"]} == {domain["id"]}
    assert world.get("/users", token=token, domain_id="default").status == 403
    assert world.get(f"/users/{domain['user']['id']}", token=token).status == 200
    assert world.get("/projects", token=token).status == 200
    assert world.get(f"/domains/{domain['id']}", token=token).status == 200
    assert world.get("/domains/default", token=token).status == 403
    assert world.post("/users", {"user": {"name": "new"}}, token=token).status == 403
    assert world.get("/role_assignments", token=token).status == 200
    scopes = [one["scope"]["domain"]["id"] for one in world.get("/role_assignments", token=token).json()["role_assignments"]]
    assert set(scopes) == {domain["id"]}


def test_a_system_reader_sees_all_and_changes_nothing(world: World) -> None:
    user = world.make("user", name="auditor", password="word")
    assert world.put(f"/system/users/{user['id']}/roles/{world.role('reader')}").status == 204
    token = world.token("auditor", "word", system=True)
    for path in ("/users", "/projects", "/domains", "/roles", "/services", "/endpoints", "/role_assignments", "/credentials", "/groups"):
        assert world.get(path, token=token).status == 200, path
    assert world.post("/projects", {"project": {"name": "x"}}, token=token).status == 403
    assert world.post("/roles", {"role": {"name": "x"}}, token=token).status == 403


def test_a_member_sees_themselves(world: World, bob: dict[str, Any]) -> None:
    token, me = bob["token"], bob["user"]["id"]
    admin = world.get("/users", name="admin").json()["users"][0]["id"]
    assert world.get(f"/users/{me}", token=token).status == 200
    assert world.get(f"/users/{me}/projects", token=token).status == 200
    assert world.get(f"/projects/{bob['project']['id']}", token=token).status == 200
    assert world.get("/domains/default", token=token).status == 200
    assert world.get("/regions", token=token).status == 200
    forbidden = [
        "/users", "/projects", "/domains", "/roles", "/services", "/endpoints", "/role_assignments", "/role_inferences", "/groups",
        "/OS-TRUST/trusts", "/OS-REVOKE/events", f"/users/{admin}", f"/users/{admin}/projects", f"/users/{admin}/application_credentials",
        f"/users/{admin}/credentials/OS-EC2", "/users/none", "/projects/none",
    ]  # fmt: skip
    for path in forbidden:
        assert world.get(path, token=token).status == 403, path
        assert world.get(path, token="").status == 401, path


def test_a_member_changes_nothing(world: World, bob: dict[str, Any]) -> None:
    token, me, project = bob["token"], bob["user"]["id"], bob["project"]["id"]
    assert world.patch(f"/users/{me}", {"user": {"enabled": True}}, token=token).status == 403
    assert world.delete(f"/projects/{project}", token=token).status == 403
    assert world.put(f"/projects/{project}/users/{me}/roles/{world.role('admin')}", token=token).status == 403
    assert world.post("/services", {"service": {"type": "x"}}, token=token).status == 403
    assert world.put(f"/projects/{project}/tags/x", token=token).status == 403
    assert world.post("/limits", {"limits": []}, token=token).status == 403
    assert world.delete("/auth/tokens", token=token, headers={"x-subject-token": world.admin}).status == 403
