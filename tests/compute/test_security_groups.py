"""Security groups by compute's older API: nova's shapes over the network service's groups."""

from __future__ import annotations

from typing import Any

import pytest

from pilvi.kernel.testing.people import PROJECT
from tests.compute.conftest import SERVERS, Nova

GROUPS = "/compute/v2.1/os-security-groups"
RULES = "/compute/v2.1/os-security-group-rules"
OLD: dict[str, Any] = {"version": "compute 2.35"}
NOBODYS = "00000000-0000-0000-0000-000000000000"


def make(nova: Nova, name: str = "web", description: str = "for tests") -> dict[str, Any]:
    made = nova.post(GROUPS, {"security_group": {"name": name, "description": description}}, **OLD)
    assert made.status == 200, made
    return made.json()["security_group"]


def rule(nova: Nova, group: str, *, answers: int = 200, **fields: Any) -> dict[str, Any]:
    body = {"parent_group_id": group, "ip_protocol": "tcp", "from_port": 22, "to_port": 22, **fields}
    made = nova.post(RULES, {"security_group_rule": body}, **OLD)
    assert made.status == answers, made
    return made.json().get("security_group_rule", {})


def listed(nova: Nova, **options: Any) -> list[dict[str, Any]]:
    return nova.get(GROUPS, **{**OLD, **options}).json()["security_groups"]


def test_a_group_from_its_making_to_its_end(nova: Nova) -> None:
    made = make(nova, " with blanks ")
    assert made == {"id": made["id"], "name": " with blanks ", "description": "for tests", "tenant_id": PROJECT, "rules": []}
    assert made in listed(nova)
    path = f"{GROUPS}/{made['id']}"
    assert nova.get(path, **OLD).json()["security_group"] == made
    changed = nova.put(path, {"security_group": {"name": "new", "description": "other"}}, **OLD).json()["security_group"]
    assert (changed["name"], changed["description"]) == ("new", "other")
    assert nova.cloud.get(f"/network/v2.0/security-groups/{made['id']}").json()["security_group"]["name"] == "new"
    assert nova.delete(path, **OLD).status == 202
    assert nova.get(path, **OLD).status == 404
    assert nova.delete(path, **OLD).status == 404
    assert nova.put(path, {"security_group": {"name": "new", "description": "other"}}, **OLD).status == 404


def test_the_default_group_is_there_and_stays(nova: Nova) -> None:
    (default,) = listed(nova)
    assert default["name"] == "default"
    assert {one["group"]["name"] for one in default["rules"]} == {"default"}
    assert nova.delete(f"{GROUPS}/{default['id']}", **OLD).status == 400
    assert nova.put(f"{GROUPS}/{default['id']}", {"security_group": {"name": "other", "description": ""}}, **OLD).status == 400
    assert nova.delete(f"{GROUPS}/", **OLD).status == 404


def test_rules_in_novas_words(nova: Nova) -> None:
    one, two = make(nova)["id"], make(nova, "other")["id"]
    first = rule(nova, one)
    assert first == {
        "id": first["id"], "parent_group_id": one, "ip_protocol": "tcp", "from_port": 22, "to_port": 22, "group": {},
        "ip_range": {"cidr": "0.0.0.0/0"},
    }  # fmt: skip
    assert rule(nova, one, cidr="10.2.3.124/24")["ip_range"] == {"cidr": "10.2.3.124/24"}
    by_group = rule(nova, one, group_id=two)
    assert (by_group["group"], by_group["ip_range"]) == ({"tenant_id": PROJECT, "name": "other"}, {})
    icmp = rule(nova, one, ip_protocol="icmp", from_port=-1, to_port=-1)
    assert (icmp["from_port"], icmp["to_port"]) == (-1, -1)
    rule(nova, one, answers=400)
    assert len(nova.get(f"{GROUPS}/{one}", **OLD).json()["security_group"]["rules"]) == 4
    assert nova.delete(f"{RULES}/{first['id']}", **OLD).status == 202
    assert nova.delete(f"{RULES}/{first['id']}", **OLD).status == 404
    assert nova.delete(f"{GROUPS}/{two}", **OLD).status == 202
    assert by_group["id"] not in {one["id"] for one in nova.get(f"{GROUPS}/{one}", **OLD).json()["security_group"]["rules"]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"ip_protocol": "999x"}, {"from_port": 65536, "to_port": 65536}, {"from_port": 22, "to_port": 21}, {"from_port": "many"},
        {"cidr": "10.0.0.0/99"}, {"parent_group_id": "web"}, {"group_id": "web"}, {"cidr": "10.0.0.0/8", "group_id": NOBODYS},
        {"ip_protocol": None, "from_port": None, "to_port": None},
    ],
)  # fmt: skip
def test_rules_that_cannot_be_are_refused(nova: Nova, wrong: dict[str, Any]) -> None:
    rule(nova, make(nova)["id"], answers=400, **wrong)


def test_what_is_not_there_or_not_ones_own(nova: Nova) -> None:
    group = make(nova)["id"]
    rule(nova, NOBODYS, answers=404)
    rule(nova, group, group_id=NOBODYS, answers=404)
    for path in (f"{GROUPS}/{NOBODYS}", f"{GROUPS}/{group}"):
        assert nova.get(path, person="stranger", **OLD).status == 404
        assert nova.delete(path, person="stranger", **OLD).status == 404
    assert nova.get(f"{GROUPS}/web", **OLD).status == 400
    body = {"security_group_rule": {"parent_group_id": group, "ip_protocol": "tcp", "from_port": 1, "to_port": 1}}
    assert nova.post(RULES, body, person="reader", **OLD).status == 403
    assert [one["name"] for one in listed(nova, person="stranger")] == ["default"]
    assert {"web"} <= {one["name"] for one in listed(nova, person="admin", all_tenants="1")}


def test_a_group_in_use_is_not_deleted(nova: Nova) -> None:
    group = make(nova)
    ref = nova.boot(networks=[{"uuid": nova.network()}])
    nova.act(ref, "addSecurityGroup", {"name": group["name"]})
    assert nova.delete(f"{GROUPS}/{group['id']}", **OLD).status == 400
    nova.delete(f"{SERVERS}/{ref}")
    nova.gone(ref)
    assert nova.delete(f"{GROUPS}/{group['id']}", **OLD).status == 202


def test_quota_and_pages(nova: Nova) -> None:
    for number in range(9):
        make(nova, f"g{number}")
    assert nova.post(GROUPS, {"security_group": {"name": "eleventh", "description": ""}}, **OLD).status == 403
    assert [one["name"] for one in listed(nova, limit=2, offset=1)] == ["g0", "g1"]


def test_later_versions_have_none_of_this(nova: Nova) -> None:
    for path in (GROUPS, f"{GROUPS}/{NOBODYS}"):
        assert nova.get(path, version="compute 2.36").status == 404
    assert nova.post(RULES, {}, version="compute 2.36").status == 404
