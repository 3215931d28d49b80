"""Unified limits."""

from __future__ import annotations

from typing import Any

from tests.identity.conftest import World


def test_what_every_project_and_one_project_may_use(world: World, bob: dict[str, Any]) -> None:
    service = world.make("service", type="weather")["id"]
    wanted = {"service_id": service, "resource_name": "frogs", "default_limit": 5}
    (base,) = world.post("/registered_limits", {"registered_limits": [wanted]}).json()["registered_limits"]
    assert world.post("/registered_limits", {"registered_limits": [wanted]}).status == 409
    assert world.post("/registered_limits", {"registered_limits": [{**wanted, "service_id": "none"}]}).status == 400
    assert world.get(f"/registered_limits/{base['id']}", token=bob["token"]).json()["registered_limit"] == base
    own = {"service_id": service, "resource_name": "frogs", "resource_limit": 9, "project_id": bob["project"]["id"]}
    (limit,) = world.post("/limits", {"limits": [own]}).json()["limits"]
    assert world.post("/limits", {"limits": [own]}).status == 409
    assert world.post("/limits", {"limits": [{**own, "resource_name": "toads"}]}).status == 403
    assert world.post("/limits", {"limits": [{**own, "domain_id": "default"}]}).status == 400
    assert world.post("/limits", {"limits": [{**own, "resource_limit": -2}]}).status == 400
    other = {**own, "project_id": world.make("project", name="other")["id"]}
    (hidden,) = world.post("/limits", {"limits": [other]}).json()["limits"]
    assert len(world.get("/limits", resource_name="frogs").json()["limits"]) == 2
    assert world.get("/limits", resource_name="toads").json()["limits"] == []
    assert world.get("/limits", token=bob["token"]).json()["limits"] == [limit]
    assert world.get(f"/limits/{limit['id']}", token=bob["token"]).status == 200
    assert world.get(f"/limits/{hidden['id']}", token=bob["token"]).status == 403
    assert world.patch(f"/limits/{limit['id']}", {"limit": {"resource_limit": 1}}).json()["limit"]["resource_limit"] == 1
    assert world.patch(f"/registered_limits/{base['id']}", {"registered_limit": {"resource_name": "x"}}).status == 403
    assert world.delete(f"/registered_limits/{base['id']}").status == 403
    assert [world.delete(f"/limits/{one['id']}").status for one in (limit, hidden)] == [204, 204]
    changed = world.patch(f"/registered_limits/{base['id']}", {"registered_limit": {"resource_name": "x"}})
    assert changed.json()["registered_limit"]["resource_name"] == "x"
    assert world.delete(f"/registered_limits/{base['id']}").status == 204
    assert world.get("/limits/model", token=bob["token"]).json()["model"]["name"] == "flat"
