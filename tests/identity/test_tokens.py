"""Tokens: made, asked about, exchanged, revoked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi import identity
from pilvi.kernel.errors import Unauthenticated
from tests.identity.conftest import ADMIN_PASSWORD, World


def test_a_token_tells_who_where_and_what(world: World, bob: dict[str, Any]) -> None:
    told = world.ask(bob["token"]).json()["token"]
    assert told["user"] == {
        "id": bob["user"]["id"], "name": "bob", "domain": {"id": "default", "name": "Default"}, "password_expires_at": None,
    }  # fmt: skip
    assert told["project"] == {"id": bob["project"]["id"], "name": "lab", "domain": {"id": "default", "name": "Default"}}
    assert [role["name"] for role in told["roles"]] == ["member", "reader"]
    assert told["methods"] == ["password"]
    assert told["catalog"][0]["type"] == "identity"
    assert told["issued_at"] < told["expires_at"]


def test_what_login_tells_and_what_asking_tells_are_the_same(world: World) -> None:
    made = world.login("admin", ADMIN_PASSWORD, {"system": {"all": True}})
    assert made.json() == world.ask(made.headers["x-subject-token"]).json()
    assert made.json()["token"]["system"] == {"all": True}


def test_nocatalog_leaves_the_catalog_out(world: World) -> None:
    assert "catalog" not in world.login("admin", ADMIN_PASSWORD, {"system": {"all": True}}, nocatalog="").json()["token"]
    assert "catalog" not in world.ask(world.admin, nocatalog="").json()["token"]
    assert "catalog" in world.ask(world.admin).json()["token"]


@pytest.mark.parametrize(
    ("name", "password", "scope"),
    [
        ("admin", "wrong", None), ("nobody", ADMIN_PASSWORD, None), ("admin", ADMIN_PASSWORD, {"project": {"id": "none"}}),
        ("admin", ADMIN_PASSWORD, {"project": {"name": "none", "domain": {"id": "default"}}}), ("admin", ADMIN_PASSWORD, {"domain": {"id": "x"}}),
    ],
)  # fmt: skip
def test_a_refusal_does_not_say_why(world: World, name: str, password: str, scope: Any) -> None:
    told = world.login(name, password, scope)
    assert told.status == 401
    assert told.json()["error"] == {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}
    assert told.headers["www-authenticate"].startswith("Keystone uri=")


@pytest.mark.parametrize(
    "auth",
    [
        {}, {"identity": {"methods": []}}, {"identity": {"methods": ["password"]}}, {"identity": {"methods": ["token"]}},
        {"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}},
        {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "password": "x"}}}},
    ],
)  # fmt: skip
def test_a_malformed_login_is_told_so(world: World, auth: Any) -> None:
    assert world.post("/auth/tokens", {"auth": auth}, token="").status == 400


def test_unscoped_and_back(world: World, bob: dict[str, Any]) -> None:
    plain = world.login("bob", "bobs", "unscoped")
    assert "project" not in plain.json()["token"]
    assert "roles" not in plain.json()["token"]
    scoped = world.exchange(plain.headers["x-subject-token"], {"project": {"id": bob["project"]["id"]}})
    assert scoped.status == 201
    first, second = plain.json()["token"], scoped.json()["token"]
    assert second["expires_at"] == first["expires_at"]
    assert second["audit_ids"][1] == first["audit_ids"][0]
    assert second["methods"] == ["password", "token"]
    assert world.exchange(scoped.headers["x-subject-token"], {"domain": {"id": "default"}}).status == 401


def test_the_default_project_is_the_scope_when_none_is_asked_for(world: World, bob: dict[str, Any]) -> None:
    user = world.make("user", name="eve", password="eves", default_project_id=bob["project"]["id"])
    assert "project" not in world.login("eve", "eves").json()["token"]
    world.grant(user["id"], "reader", project=bob["project"]["id"])
    assert world.login("eve", "eves").json()["token"]["project"]["id"] == bob["project"]["id"]


def test_a_revoked_token_is_gone_at_once_and_others_are_not(world: World, bob: dict[str, Any]) -> None:
    other = world.token("bob", "bobs", project="lab")
    assert world.ask(bob["token"]).status == 200
    assert world.delete("/auth/tokens", token=bob["token"], headers={"x-subject-token": bob["token"]}).status == 204
    assert world.ask(bob["token"]).status == 404
    assert world.say("HEAD", "/auth/tokens", headers={"x-subject-token": bob["token"]}).status == 404
    assert world.get("/auth/projects", token=bob["token"]).status == 401
    assert world.exchange(bob["token"]).status == 404
    assert world.get("/auth/projects", token=other).status == 200


def test_a_token_expires(world: World, bob: dict[str, Any], later: Callable[[float], None]) -> None:
    assert world.get("/auth/projects", token=bob["token"]).status == 200
    later(3601)
    assert world.get("/auth/projects", token=bob["token"]).status == 401
    admin = world.token("admin", ADMIN_PASSWORD, project="admin")
    assert world.ask(bob["token"], token=admin).status == 404
    assert world.ask(bob["token"], token=admin, allow_expired="1").status == 200
    later(2 * 86400)
    admin = world.token("admin", ADMIN_PASSWORD, project="admin")
    assert world.ask(bob["token"], token=admin, allow_expired="1").status == 404


def test_only_the_bearer_and_those_in_charge_may_ask_about_a_token(world: World, bob: dict[str, Any]) -> None:
    assert world.ask(bob["token"], token=bob["token"]).status == 200
    assert world.ask(world.admin, token=bob["token"]).status == 403
    assert world.ask(bob["token"], token="").status == 401
    assert world.ask("rubbish").status == 404
    assert world.get("/auth/tokens").status == 400
    assert world.get("/auth/projects", token=bob["token"][:-4] + "AAAA").status == 401


@pytest.mark.parametrize("loss", ["disable user", "delete user", "password", "role", "disable project", "disable domain", "delete role"])
def test_a_token_is_void_at_once_when_its_ground_is_gone(world: World, loss: str) -> None:
    domain = world.make("domain", name="d")
    user = world.make("user", name="u", password="pass", domain_id=domain["id"])
    project = world.make("project", name="p", domain_id=domain["id"])
    role = world.make("role", name="special")
    grant = f"/projects/{project['id']}/users/{user['id']}/roles/{role['id']}"
    assert world.put(grant).status == 204
    token = world.login("u", "pass", {"project": {"id": project["id"]}}, domain=domain["id"]).headers["x-subject-token"]
    assert identity.authenticate(world.program, token).project_id == project["id"]
    done = {
        "disable user": lambda: world.patch(f"/users/{user['id']}", {"user": {"enabled": False}}),
        "delete user": lambda: world.delete(f"/users/{user['id']}"),
        "password": lambda: world.patch(f"/users/{user['id']}", {"user": {"password": "other"}}),
        "role": lambda: world.delete(grant),
        "disable project": lambda: world.patch(f"/projects/{project['id']}", {"project": {"enabled": False}}),
        "disable domain": lambda: world.patch(f"/domains/{domain['id']}", {"domain": {"enabled": False}}),
        "delete role": lambda: world.delete(f"/roles/{role['id']}"),
    }[loss]()
    assert done.status in (200, 204), done
    with pytest.raises(Unauthenticated):
        identity.authenticate(world.program, token)


def test_enabled_again_the_old_tokens_stay_void(world: World, bob: dict[str, Any]) -> None:
    for enabled in (False, True):
        assert world.patch(f"/projects/{bob['project']['id']}", {"project": {"enabled": enabled}}).status == 200
    assert world.get("/auth/projects", token=bob["token"]).status == 401
    assert world.login("bob", "bobs", {"project": {"id": bob["project"]["id"]}}).status == 201


def test_a_new_role_is_in_the_token_at_once(world: World, bob: dict[str, Any]) -> None:
    assert "manager" not in identity.authenticate(world.program, bob["token"]).roles
    world.grant(bob["user"]["id"], "manager", project=bob["project"]["id"])
    assert "manager" in identity.authenticate(world.program, bob["token"]).roles


def test_where_a_token_can_go(world: World, bob: dict[str, Any]) -> None:
    assert [one["name"] for one in world.get("/auth/projects", token=bob["token"]).json()["projects"]] == ["lab"]
    assert world.get("/auth/domains", token=bob["token"]).json()["domains"] == []
    assert world.get("/auth/system", token=bob["token"]).json()["system"] == []
    assert world.get("/auth/system").json()["system"] == [{"all": True}]
    assert [one["id"] for one in world.get("/auth/domains").json()["domains"]] == ["default"]


def test_several_factors_can_be_asked_for(world: World, bob: dict[str, Any]) -> None:
    rules = {"multi_factor_auth_rules": [["password", "totp"]], "multi_factor_auth_enabled": True}
    assert world.patch(f"/users/{bob['user']['id']}", {"user": {"options": rules}}).status == 200
    assert world.login("bob", "bobs").status == 401
    assert world.patch(f"/users/{bob['user']['id']}", {"user": {"options": {"multi_factor_auth_enabled": False}}}).status == 200
    assert world.login("bob", "bobs").status == 201


def test_versions(world: World) -> None:
    listed = world.cloud.get("/identity/", person="nobody")
    assert listed.status == 300
    assert listed.json()["versions"]["values"][0]["id"] == "v3.14"
    shown = world.get("", token="").json()["version"]
    assert shown["links"] == [{"rel": "self", "href": "http://cloud.test/identity/v3/"}]
