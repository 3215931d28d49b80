"""The API of placement: versions, generations, errors with codes, and who may."""

from __future__ import annotations

from typing import Any

import pytest

from pilvi.kernel.ids import new_id
from pilvi.kernel.testing import people
from pilvi.kernel.testing.cloud import Cloud, Told

LATEST = "placement 1.39"


def say(cloud: Cloud, method: str, path: str, body: Any = None, version: str = LATEST, **options: Any) -> Told:
    options.setdefault("person", "admin")
    return cloud.say(method, f"/placement{path}", body, version=version, **options)


def make(cloud: Cloud, name: str, inventories: dict[str, Any] | None = None, traits: tuple[str, ...] = (), **more: Any) -> str:
    made = say(cloud, "POST", "/resource_providers", {"name": name, **more})
    assert made.status == 200, made
    uuid = made.json()["uuid"]
    at = f"/resource_providers/{uuid}"
    if inventories:
        assert say(cloud, "PUT", f"{at}/inventories", {"resource_provider_generation": 0, "inventories": inventories}).status == 200
    if traits:
        now = say(cloud, "GET", at).json()["generation"]
        assert say(cloud, "PUT", f"{at}/traits", {"resource_provider_generation": now, "traits": list(traits)}).status == 200
    return uuid


def join(cloud: Cloud, uuid: str, *aggregates: str) -> None:
    now = say(cloud, "GET", f"/resource_providers/{uuid}").json()["generation"]
    body = {"resource_provider_generation": now, "aggregates": list(aggregates)}
    assert say(cloud, "PUT", f"/resource_providers/{uuid}/aggregates", body).status == 200


def allocate(cloud: Cloud, consumer: str, amounts: dict[str, dict[str, int]], *, generation: int | None = None, **options: Any) -> Told:
    body = {
        "allocations": {uuid: {"resources": one} for uuid, one in amounts.items()}, "project_id": "p1", "user_id": "u1",
        "consumer_generation": generation, "consumer_type": "INSTANCE",
    }  # fmt: skip
    return say(cloud, "PUT", f"/allocations/{consumer}", body, **options)


def test_the_root_tells_the_versions_to_everyone(cloud: Cloud) -> None:
    told = cloud.get("/placement/", person="nobody")
    assert told.status == 200
    assert told.json()["versions"][0]["max_version"] == "1.39"
    assert told.headers["openstack-api-version"] == "placement 1.0"


@pytest.mark.parametrize(
    ("person", "status"), [("nobody", 401), ("member", 403), ("reader", 403), ("stranger", 403), ("admin", 200), ("system", 403)]
)
def test_placement_is_for_the_cloud_itself(cloud: Cloud, person: str, status: int) -> None:
    assert say(cloud, "GET", "/resource_providers", person=person).status == status


def test_an_outdated_generation_is_refused_with_its_code(cloud: Cloud) -> None:
    uuid = make(cloud, "h1", {"VCPU": {"total": 4}})
    body = {"resource_provider_generation": 0, "inventories": {}}
    told = say(cloud, "PUT", f"/resource_providers/{uuid}/inventories", body)
    (error,) = told.json()["errors"]
    assert (told.status, error["code"], error["title"]) == (409, "placement.concurrent_update", "Conflict")
    assert error["request_id"].startswith("req-")
    old = say(cloud, "PUT", f"/resource_providers/{uuid}/inventories", body, version="placement 1.22")
    assert "code" not in old.json()["errors"][0]


def test_bodies_are_refused_by_naming_what_is_wrong(cloud: Cloud) -> None:
    told = say(cloud, "POST", "/resource_providers", {"name": "x", "color": "blue"})
    assert told.status == 400
    assert "'color' was unexpected" in told.json()["errors"][0]["detail"]
    assert say(cloud, "POST", "/resource_providers", data=b"{", headers={"content-type": "application/json"}).status == 400
    assert say(cloud, "POST", "/resource_providers", data=b"x", headers={"content-type": "text/plain"}).status == 415
    assert say(cloud, "GET", "/resource_providers", headers={"accept": "text/plain"}).status == 406


def test_consumer_generations_guard_allocations(cloud: Cloud) -> None:
    uuid, consumer = make(cloud, "h1", {"VCPU": {"total": 4}}), new_id()
    assert allocate(cloud, consumer, {uuid: {"VCPU": 1}}).status == 204
    again = allocate(cloud, consumer, {uuid: {"VCPU": 2}})
    assert again.json()["errors"][0]["code"] == "placement.concurrent_update"
    assert allocate(cloud, consumer, {uuid: {"VCPU": 2}}, generation=1).status == 204
    told = say(cloud, "GET", f"/allocations/{consumer}").json()
    assert told["allocations"][uuid]["resources"] == {"VCPU": 2}
    assert (told["consumer_generation"], told["consumer_type"], told["project_id"]) == (2, "INSTANCE", "p1")
    assert allocate(cloud, consumer, {}, generation=2).status == 204
    assert say(cloud, "DELETE", f"/allocations/{consumer}").status == 404


def test_several_consumers_change_together_or_not_at_all(cloud: Cloud) -> None:
    uuid, first, second = make(cloud, "h1", {"VCPU": {"total": 4}}), new_id(), new_id()

    def wish(vcpus: int) -> dict[str, Any]:
        return {
            "allocations": {uuid: {"resources": {"VCPU": vcpus}}}, "project_id": "p", "user_id": "u", "consumer_generation": None,
            "consumer_type": "INSTANCE",
        }  # fmt: skip

    assert say(cloud, "POST", "/allocations", {first: wish(3), second: wish(2)}).status == 409
    assert say(cloud, "GET", f"/allocations/{first}").json() == {"allocations": {}}
    assert say(cloud, "POST", "/allocations", {first: wish(2), second: wish(2)}).status == 204
    assert say(cloud, "GET", f"/resource_providers/{uuid}/usages").json()["usages"] == {"VCPU": 4}


def test_usages_are_grouped_by_type_and_readable_by_the_project(cloud: Cloud) -> None:
    uuid = make(cloud, "h1", {"VCPU": {"total": 9}})
    for vcpus in (1, 2):
        assert allocate(cloud, new_id(), {uuid: {"VCPU": vcpus}}).status == 204
    told = say(cloud, "GET", "/usages", project_id="p1").json()
    assert told == {"usages": {"INSTANCE": {"VCPU": 3, "consumer_count": 2}}}
    assert say(cloud, "GET", "/usages", version="placement 1.9", project_id="p1").json() == {"usages": {"VCPU": 3}}
    assert say(cloud, "GET", "/usages", person="reader", project_id="p1").status == 403
    assert say(cloud, "GET", "/usages", person="reader", project_id="11111111111111111111111111111111").status == 200


def test_trees_are_moved_but_never_into_themselves(cloud: Cloud) -> None:
    top = make(cloud, "top")
    child = make(cloud, "child", parent_provider_uuid=top)
    grandchild = make(cloud, "grandchild", parent_provider_uuid=child)
    loop = say(cloud, "PUT", f"/resource_providers/{top}", {"name": "top", "parent_provider_uuid": grandchild})
    assert (loop.status, "loop" in loop.json()["errors"][0]["detail"]) == (400, True)
    assert say(cloud, "PUT", f"/resource_providers/{child}", {"name": "child", "parent_provider_uuid": None}).status == 200
    assert say(cloud, "GET", f"/resource_providers/{grandchild}").json()["root_provider_uuid"] == child
    gone = say(cloud, "DELETE", f"/resource_providers/{child}")
    assert gone.json()["errors"][0]["code"] == "placement.resource_provider.cannot_delete_parent"
    assert say(cloud, "DELETE", f"/resource_providers/{top}").status == 204


def test_the_reshaper_moves_inventory_that_is_in_use(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    top, consumer = make(cloud, "top", {"VCPU": {"total": 8}, "DISK_GB": {"total": 100}}), new_id()
    child = make(cloud, "numa", parent_provider_uuid=top)
    assert allocate(cloud, consumer, {top: {"VCPU": 6, "DISK_GB": 10}}).status == 204
    inventories = {
        top: {"resource_provider_generation": 2, "inventories": {"DISK_GB": {"total": 100}}},
        child: {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 8}}},
    }
    assert say(cloud, "POST", "/reshaper", {"inventories": inventories, "allocations": {}}, person="admin").status == 403
    allocations = {
        consumer: {
            "allocations": {top: {"resources": {"DISK_GB": 10}}, child: {"resources": {"VCPU": 6}}}, "project_id": "p1", "user_id": "u1",
            "consumer_generation": 1, "consumer_type": "INSTANCE",
        }
    }  # fmt: skip
    monkeypatch.setitem(people.PEOPLE, "service", people.person("service", "service"))
    stuck = say(cloud, "POST", "/reshaper", {"inventories": inventories, "allocations": {}}, person="service")
    assert stuck.json()["errors"][0]["code"] == "placement.inventory.inuse"
    assert say(cloud, "POST", "/reshaper", {"inventories": inventories, "allocations": allocations}, person="service").status == 204
    assert say(cloud, "GET", f"/resource_providers/{top}/usages").json()["usages"] == {"DISK_GB": 10}
    assert say(cloud, "GET", f"/resource_providers/{child}/usages").json()["usages"] == {"VCPU": 6}


def test_custom_names_come_and_go(cloud: Cloud) -> None:
    assert say(cloud, "PUT", "/resource_classes/CUSTOM_GOLD").status == 201
    assert say(cloud, "PUT", "/resource_classes/CUSTOM_GOLD").status == 204
    assert say(cloud, "PUT", "/resource_classes/GOLD").status == 400
    make(cloud, "h1", {"CUSTOM_GOLD": {"total": 1}})
    assert say(cloud, "DELETE", "/resource_classes/CUSTOM_GOLD").status == 409
    assert say(cloud, "PUT", "/traits/CUSTOM_SHINY").status == 201
    assert say(cloud, "GET", "/traits", name="startswith:CUSTOM_").json() == {"traits": ["CUSTOM_SHINY"]}
    assert say(cloud, "DELETE", "/traits/CUSTOM_SHINY").status == 204
    assert say(cloud, "DELETE", "/traits/HW_CPU_X86_AVX").status == 400


def candidates(cloud: Cloud, query: str, version: str = LATEST) -> list[dict[str, Any]]:
    told = say(cloud, "GET", f"/allocation_candidates?{query}", version=version)
    assert told.status == 200, told
    return told.json()["allocation_requests"]


def test_candidates_have_room_and_the_traits(cloud: Cloud) -> None:
    fast = make(cloud, "fast", {"VCPU": {"total": 4}, "MEMORY_MB": {"total": 1024}}, traits=("HW_CPU_X86_AVX",))
    make(cloud, "small", {"VCPU": {"total": 1}, "MEMORY_MB": {"total": 1024}})
    slow = make(cloud, "slow", {"VCPU": {"total": 4}, "MEMORY_MB": {"total": 1024}})
    assert {next(iter(one["allocations"])) for one in candidates(cloud, "resources=VCPU:2,MEMORY_MB:512")} == {fast, slow}
    (one,) = candidates(cloud, "resources=VCPU:2&required=HW_CPU_X86_AVX")
    assert one == {"allocations": {fast: {"resources": {"VCPU": 2}}}, "mappings": {"": [fast]}}
    (one,) = candidates(cloud, "resources=VCPU:2&required=!HW_CPU_X86_AVX")
    assert list(one["allocations"]) == [slow]
    assert len(candidates(cloud, "resources=VCPU:1&limit=2")) == 2


def test_shared_storage_serves_the_trees_of_its_aggregate(cloud: Cloud) -> None:
    near, far, shared = new_id(), new_id(), new_id()
    host = make(cloud, "host", {"VCPU": {"total": 4}}, uuid=near)
    make(cloud, "lonely", {"VCPU": {"total": 4}}, uuid=far)
    make(cloud, "pool", {"DISK_GB": {"total": 100}}, traits=("MISC_SHARES_VIA_AGGREGATE",), uuid=shared)
    aggregate = new_id()
    join(cloud, host, aggregate)
    join(cloud, shared, aggregate)
    (one,) = candidates(cloud, "resources=VCPU:1,DISK_GB:10")
    assert one["allocations"] == {near: {"resources": {"VCPU": 1}}, shared: {"resources": {"DISK_GB": 10}}}


def test_groups_are_served_by_one_provider_each(cloud: Cloud) -> None:
    top = make(cloud, "host", {"MEMORY_MB": {"total": 1024}})
    numas = {make(cloud, f"numa{n}", {"VCPU": {"total": 4}}, parent_provider_uuid=top) for n in range(2)}
    both = candidates(cloud, "resources=MEMORY_MB:64&resources_A=VCPU:2&resources_B=VCPU:2&group_policy=none")
    assert len(both) == 4
    apart = candidates(cloud, "resources=MEMORY_MB:64&resources_A=VCPU:2&resources_B=VCPU:2&group_policy=isolate")
    assert len(apart) == 2
    assert all(set(one["mappings"]["_A"] + one["mappings"]["_B"]) == numas for one in apart)
    assert candidates(cloud, "resources=VCPU:1,MEMORY_MB:64", version="placement 1.28") == []
