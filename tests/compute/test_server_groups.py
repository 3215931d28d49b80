"""Server groups: their policies, members and what each version tells."""

from __future__ import annotations

from typing import Any

import pytest

from pilvi.kernel.testing.people import PEOPLE, PROJECT
from tests.compute.conftest import SERVERS, Nova

GROUPS = "/compute/v2.1/os-server-groups"


def make(nova: Nova, **fields: Any) -> dict[str, Any]:
    made = nova.post(GROUPS, {"server_group": {"name": "one", "policy": "affinity", **fields}})
    assert made.status == 200, made
    return made.json()["server_group"]


def test_a_group_in_the_newest_version(nova: Nova) -> None:
    made = make(nova, policy="anti-affinity", rules={"max_server_per_host": 2})
    assert made == {
        "id": made["id"], "name": "one", "members": [], "policy": "anti-affinity", "rules": {"max_server_per_host": 2}, "project_id": PROJECT,
        "user_id": PEOPLE["member"].user_id,
    }  # fmt: skip
    assert nova.get(f"{GROUPS}/{made['id']}").json()["server_group"] == made
    assert nova.get(GROUPS).json()["server_groups"] == [made]
    assert nova.get(f"{GROUPS}/{made['id']}", person="stranger").status == 404
    assert nova.get(GROUPS, person="stranger", all_projects="1").json() == {"server_groups": []}
    assert len(nova.get(GROUPS, person="admin", all_projects="1").json()["server_groups"]) == 1
    assert nova.delete(f"{GROUPS}/{made['id']}", person="reader").status == 403
    assert nova.delete(f"{GROUPS}/{made['id']}").status == 204
    assert nova.delete(f"{GROUPS}/{made['id']}").status == 404


def test_older_versions_have_a_list_of_policies(nova: Nova) -> None:
    made = nova.post(GROUPS, {"server_group": {"name": "old", "policies": ["affinity"]}}, version="compute 2.1").json()["server_group"]
    assert made == {"id": made["id"], "name": "old", "members": [], "policies": ["affinity"], "metadata": {}}
    assert "project_id" in nova.get(f"{GROUPS}/{made['id']}", version="compute 2.13").json()["server_group"]
    soft = {"server_group": {"name": "old", "policies": ["soft-affinity"]}}
    assert nova.post(GROUPS, soft, version="compute 2.14").status == 400
    assert nova.post(GROUPS, soft, version="compute 2.15").status == 200
    assert nova.post(GROUPS, soft).status == 400
    assert nova.post(GROUPS, {"server_group": {"name": "old", "policy": "affinity"}}, version="compute 2.63").status == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": " one"}, {"name": "x" * 256}, {"policy": "friendly"}, {"rules": {"max_server_per_host": 2}},
        {"policy": "anti-affinity", "rules": {"max_server_per_host": 0}}, {"policy": "anti-affinity", "rules": {"other": 1}}, {"colour": "blue"},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(nova: Nova, wrong: dict[str, Any]) -> None:
    assert nova.post(GROUPS, {"server_group": {"name": "one", "policy": "affinity", **wrong}}).status == 400


def test_members_are_the_servers_made_in_it(nova: Nova) -> None:
    group = make(nova)
    made = nova.post(SERVERS, {"server": nova.body(imageRef=nova.image()), "os:scheduler_hints": {"group": group["id"]}})
    assert made.status == 202, made
    ref = made.json()["server"]["id"]
    nova.until(ref, "ACTIVE")
    assert nova.get(f"{GROUPS}/{group['id']}").json()["server_group"]["members"] == [ref]
    assert nova.delete(f"{SERVERS}/{ref}").status == 204
    nova.gone(ref)
    assert nova.get(f"{GROUPS}/{group['id']}").json()["server_group"]["members"] == []


def test_pages_and_quota(nova: Nova) -> None:
    ids = [make(nova, name=f"g{number}")["id"] for number in range(3)]
    assert [one["id"] for one in nova.get(GROUPS, limit=1, offset=1).json()["server_groups"]] == ids[1:2]
    nova.put(f"/compute/v2.1/os-quota-sets/{PROJECT}", {"quota_set": {"server_groups": 3}}, person="admin")
    assert nova.post(GROUPS, {"server_group": {"name": "fourth", "policy": "affinity"}}).status == 403
