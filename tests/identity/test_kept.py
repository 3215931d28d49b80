"""What identity keeps for others: policies and settings of domains."""

from __future__ import annotations

from typing import Any

from tests.identity.conftest import World


def test_a_policy_is_kept(world: World, bob: dict[str, Any]) -> None:
    assert world.post("/policies", {"policy": {"blob": "{}", "type": "application/json", "note": 1}}, token=bob["token"]).status == 403
    policy = world.post("/policies", {"policy": {"blob": "{}", "type": "application/json", "note": 1}}).json()["policy"]
    path = f"/policies/{policy['id']}"
    assert world.patch(path, {"policy": {"type": "text/plain"}}).json()["policy"] == {**policy, "type": "text/plain"}
    assert [one["id"] for one in world.get("/policies", type="text/plain").json()["policies"]] == [policy["id"]]
    assert [world.delete(path).status, world.get(path).status] == [204, 404]


def test_settings_of_a_domain_are_kept(world: World, bob: dict[str, Any]) -> None:
    domain = world.make("domain", name="d")
    path = f"/domains/{domain['id']}/config"
    wanted = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://x.test", "user_tree_dn": "ou=Users"}}
    assert world.get(path).status == 404
    assert [world.put(path, {"config": wanted}).status, world.put(path, {"config": wanted}).status] == [201, 200]
    assert world.get(path).json()["config"] == wanted
    assert world.get(path, token=bob["token"]).status == 403
    assert world.patch(path, {"config": {"ldap": {"url": "ldap://y.test"}}}).json()["config"]["ldap"]["user_tree_dn"] == "ou=Users"
    assert world.patch(f"{path}/identity", {"config": {"identity": {"list_limit": 3}}}).json()["config"]["identity"]["list_limit"] == 3
    assert world.patch(f"{path}/identity", {"config": {"ldap": {"url": "x"}}}).status == 400
    assert world.patch(f"{path}/ldap/url", {"config": {"url": "ldap://z.test"}}).status == 200
    assert world.get(f"{path}/ldap/url").json()["config"] == {"url": "ldap://z.test"}
    assert [world.delete(f"{path}/ldap/url").status, world.get(f"{path}/ldap/url").status] == [204, 404]
    assert [world.delete(f"{path}/ldap").status, world.get(f"{path}/ldap").status] == [204, 404]
    assert world.put(path, {"config": {"colour": {"red": 1}}}).status == 403
    assert world.put(path, {"config": {"ldap": "x"}}).status == 400
    assert [world.delete(path).status, world.get(path).status] == [204, 404]


def test_the_defaults_of_settings(world: World) -> None:
    told = world.get("/domains/config/default").json()["config"]
    assert set(told) == {"identity", "ldap"}
    assert world.get("/domains/config/identity/default").json()["config"] == {"identity": told["identity"]}
    assert world.get("/domains/config/identity/driver/default").json()["config"] == {"driver": "sql"}
    assert world.get("/domains/config/colour/default").status == 403
