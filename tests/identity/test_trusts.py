"""Trusts: roles lent, used, lent on, taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi.identity.service import tidy
from pilvi.identity.tables import Trust
from tests.identity.conftest import World


@pytest.fixture
def eve(world: World) -> dict[str, Any]:
    """Someone without any role."""
    user = world.make("user", name="eve", password="eves")
    return {"user": user, "token": world.token("eve", "eves")}


def _lend(world: World, bob: dict[str, Any], eve: dict[str, Any], *, token: str = "", **attributes: Any) -> Any:
    body = {
        "trustor_user_id": bob["user"]["id"], "trustee_user_id": eve["user"]["id"], "project_id": bob["project"]["id"],
        "impersonation": False, "roles": [{"name": "reader"}], **attributes,
    }  # fmt: skip
    return world.post("/OS-TRUST/trusts", {"trust": body}, token=token or bob["token"])


def _use(world: World, trust: dict[str, Any], token: str) -> Any:
    return world.exchange(token, {"OS-TRUST:trust": {"id": trust["id"]}})


@pytest.mark.parametrize("impersonation", [False, True])
def test_a_trust_lends_roles(world: World, bob: dict[str, Any], eve: dict[str, Any], impersonation: bool) -> None:
    trust = _lend(world, bob, eve, impersonation=impersonation, colour="red").json()["trust"]
    assert (trust["roles"][0]["name"], trust["colour"], trust["expires_at"]) == ("reader", "red", None)
    told = _use(world, trust, eve["token"])
    assert told.status == 201
    token = told.json()["token"]
    assert token["user"]["name"] == ("bob" if impersonation else "eve")
    assert [role["name"] for role in token["roles"]] == ["reader"]
    assert token["OS-TRUST:trust"] == {
        "id": trust["id"], "impersonation": impersonation, "trustor_user": {"id": bob["user"]["id"]}, "trustee_user": {"id": eve["user"]["id"]},
    }  # fmt: skip
    subject = told.headers["x-subject-token"]
    assert world.get(f"/projects/{bob['project']['id']}", token=subject).status == 200
    assert world.exchange(subject).status == 403
    assert _use(world, trust, bob["token"]).status == 403
    assert world.get(f"/OS-TRUST/trusts/{trust['id']}/roles", token=eve["token"]).json()["roles"][0]["name"] == "reader"
    assert world.get(f"/OS-TRUST/trusts/{trust['id']}/roles/{world.role('member')}", token=eve["token"]).status == 404
    assert world.delete(f"/OS-TRUST/trusts/{trust['id']}", token=eve["token"]).status == 403
    assert world.delete(f"/OS-TRUST/trusts/{trust['id']}", token=bob["token"]).status == 204
    assert world.get("/auth/projects", token=subject).status == 401
    assert _use(world, trust, eve["token"]).status == 401
    assert world.get(f"/OS-TRUST/trusts/{trust['id']}", token=bob["token"]).status == 404


def test_a_trust_ends_with_what_the_trustor_had(world: World, bob: dict[str, Any], eve: dict[str, Any]) -> None:
    trust = _lend(world, bob, eve).json()["trust"]
    subject = _use(world, trust, eve["token"]).headers["x-subject-token"]
    assert world.get("/auth/projects", token=subject).status == 200
    world.patch(f"/users/{bob['user']['id']}", {"user": {"password": "new"}})
    assert world.get("/auth/projects", token=subject).status == 401
    assert _use(world, trust, eve["token"]).status == 201
    world.delete(f"/projects/{bob['project']['id']}/users/{bob['user']['id']}/roles/{world.role('member')}")
    assert _use(world, trust, eve["token"]).status == 401


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({"roles": []}, 403), ({"roles": [{"name": "admin"}]}, 404), ({"trustee_user_id": "none"}, 404), ({"expires_at": "bad.123Z"}, 400),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 400), ({"remaining_uses": 0}, 400), ({"project_id": "none"}, 404),
        ({"trustor_user_id": "someone else"}, 403), ({"allow_redelegation": True, "redelegation_count": 9}, 403),
        ({"allow_redelegation": True, "remaining_uses": 1}, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_lent(world: World, bob: dict[str, Any], eve: dict[str, Any], attributes: Any, status: int) -> None:
    assert _lend(world, bob, eve, **attributes).status == status


def test_a_trust_is_used_up(world: World, bob: dict[str, Any], eve: dict[str, Any]) -> None:
    trust = _lend(world, bob, eve, remaining_uses=2).json()["trust"]
    assert [_use(world, trust, eve["token"]).status for _ in range(3)] == [201, 201, 401]
    assert world.get(f"/OS-TRUST/trusts/{trust['id']}", token=bob["token"]).json()["trust"]["remaining_uses"] == 0


def test_a_trust_is_lent_on_as_often_as_allowed(world: World, bob: dict[str, Any], eve: dict[str, Any]) -> None:
    third = world.make("user", name="third", password="word")
    trust = _lend(world, bob, eve, allow_redelegation=True, redelegation_count=1, impersonation=True).json()["trust"]
    by_trust = _use(world, trust, eve["token"]).headers["x-subject-token"]
    chain = {"user": third}
    assert _lend(world, bob, chain, token=by_trust, roles=[{"name": "member"}]).status == 403
    on = _lend(world, bob, chain, token=by_trust, impersonation=True)
    assert on.status == 201, on
    assert (on.json()["trust"]["redelegated_trust_id"], on.json()["trust"]["redelegation_count"]) == (trust["id"], 0)
    theirs = world.token("third", "word")
    subject = _use(world, on.json()["trust"], theirs).headers["x-subject-token"]
    assert _lend(world, bob, eve, token=subject).status == 403
    world.delete(f"/OS-TRUST/trusts/{trust['id']}", token=bob["token"])
    assert world.get("/auth/projects", token=subject).status == 401


def test_trusts_that_are_over_are_forgotten(world: World, bob: dict[str, Any], eve: dict[str, Any], later: Callable[[float], None]) -> None:
    ended, living = (_lend(world, bob, eve).json()["trust"] for _ in range(2))
    assert world.delete(f"/OS-TRUST/trusts/{ended['id']}", token=bob["token"]).status == 204
    later(4 * 86400)
    tidy(world.program)
    with world.program.db.transaction(write=False) as tx:
        assert [row.id for row in tx.all(Trust)] == [living["id"]]


def test_trusts_are_listed_for_those_they_concern(world: World, bob: dict[str, Any], eve: dict[str, Any]) -> None:
    trust = _lend(world, bob, eve).json()["trust"]

    def ids(token: str | None, **query: str) -> Any:
        told = world.get("/OS-TRUST/trusts", token=token, **query)
        return [one["id"] for one in told.json()["trusts"]] if told.status == 200 else told.status

    assert ids(None) == [trust["id"]]
    assert ids(bob["token"], trustor_user_id=bob["user"]["id"]) == [trust["id"]]
    assert ids(eve["token"], trustee_user_id=eve["user"]["id"]) == [trust["id"]]
    assert ids(bob["token"]) == 403
    assert ids(bob["token"], trustor_user_id=eve["user"]["id"]) == 403
    assert "roles" not in world.get("/OS-TRUST/trusts").json()["trusts"][0]
