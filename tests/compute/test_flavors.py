"""Flavors: who sees which, what each version tells, extra specs, access, and the list that is kept rendered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilvi.kernel.testing.people import OTHER_PROJECT, PROJECT
from tests.compute.conftest import Nova

FLAVORS = "/compute/v2.1/flavors"


def make(nova: Nova, **fields: Any) -> dict[str, Any]:
    body = {"name": "one", "ram": 256, "vcpus": 2, "disk": 3, **fields}
    made = nova.post(FLAVORS, {"flavor": body}, person="admin")
    assert made.status == 200, made
    return made.json()["flavor"]


def names(nova: Nova, **options: Any) -> set[str]:
    told = nova.get(f"{FLAVORS}/detail", **options)
    assert told.status == 200, told
    return {one["name"] for one in told.json()["flavors"]}


def test_a_new_cloud_has_flavors_once(make_nova: Callable[..., Nova]) -> None:
    nova = make_nova()
    first = {"m1.nano", "m1.micro", "m1.tiny", "m1.small", "m1.medium", "m1.large", "m1.xlarge"}
    assert first <= names(nova)
    assert nova.delete(f"{FLAVORS}/1", person="admin").status == 202
    nova.stop()
    assert "m1.tiny" not in names(make_nova())


def test_what_each_version_tells(nova: Nova) -> None:
    made = make(nova, name="told", description="for tests", id="told")
    assert made["extra_specs"] == {}
    old = nova.get(f"{FLAVORS}/told", version="compute 2.1").json()["flavor"]
    assert old["swap"] == ""
    assert {"description", "extra_specs"}.isdisjoint(old)
    assert nova.get(f"{FLAVORS}/told", version="compute 2.55").json()["flavor"]["description"] == "for tests"
    new = nova.get(f"{FLAVORS}/told", version="compute 2.75").json()["flavor"]
    assert (new["swap"], new["extra_specs"]) == (0, {})
    assert nova.put(f"{FLAVORS}/told", {"flavor": {"description": None}}, person="admin").json()["flavor"]["description"] is None
    assert nova.put(f"{FLAVORS}/told", {"flavor": {"description": "x"}}, person="admin", version="compute 2.54").status == 404
    brief = nova.get(FLAVORS, version="compute 2.1", limit=1).json()
    assert set(brief["flavors"][0]) == {"id", "name", "links"}
    assert "marker=1" in brief["flavors_links"][0]["href"]
    assert "limit=1" in brief["flavors_links"][0]["href"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": " "}, {"name": "x" * 256}, {"ram": 0}, {"ram": "much"}, {"vcpus": 0}, {"disk": -1}, {"swap": -1}, {"rxtx_factor": 0},
        {"rxtx_factor": -1.5}, {"id": "a/b"}, {"id": " a"}, {"ephemeral": 1}, {"os-flavor-access:is_public": "perhaps"},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(nova: Nova, wrong: dict[str, Any]) -> None:
    told = nova.post(FLAVORS, {"flavor": {"name": "one", "ram": 1, "vcpus": 1, "disk": 0, **wrong}}, person="admin")
    assert told.status == 400, told


def test_ids_and_names_are_their_own(nova: Nova) -> None:
    assert make(nova, id=1000, ram="512", name="by number")["id"] == "1000"
    assert len(make(nova, id=None, name="by itself")["id"]) == 36
    for again in ({"id": 1000, "name": "other"}, {"id": "other", "name": "by number"}):
        told = nova.post(FLAVORS, {"flavor": {"ram": 1, "vcpus": 1, "disk": 0, **again}}, person="admin")
        assert told.status == 409, told
    assert nova.post(FLAVORS, {"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 0}}).status == 403


def test_private_flavors_are_for_those_who_may(nova: Nova) -> None:
    make(nova, name="secret", id="secret", **{"os-flavor-access:is_public": "False"})
    access = f"{FLAVORS}/secret/os-flavor-access"
    act = f"{FLAVORS}/secret/action"
    assert nova.get(access, person="admin").json() == {"flavor_access": []}
    assert "secret" not in names(nova)
    assert "secret" not in names(nova, person="admin")
    assert nova.get(f"{FLAVORS}/secret").status == 404
    for word in ("f", "false", "no", "0", "none"):
        assert "secret" in names(nova, person="admin", is_public=word)
    assert nova.get(FLAVORS, person="admin", is_public="perhaps").status == 400
    assert "secret" not in names(nova, is_public="none")
    granted = nova.post(act, {"addTenantAccess": {"tenant": PROJECT}}, person="admin")
    assert granted.json() == {"flavor_access": [{"flavor_id": "secret", "tenant_id": PROJECT}]}
    assert nova.post(act, {"addTenantAccess": {"tenant": PROJECT}}, person="admin").status == 409
    assert nova.post(act, {"addTenantAccess": {"tenant": PROJECT}}).status == 403
    assert "secret" in names(nova)
    assert "secret" not in names(nova, person="stranger")
    assert nova.get(f"{FLAVORS}/secret", person="stranger").status == 404
    assert nova.post(act, {"removeTenantAccess": {"tenant": OTHER_PROJECT}}, person="admin").status == 404
    assert nova.post(act, {"removeTenantAccess": {"tenant": PROJECT}}, person="admin").json() == {"flavor_access": []}
    assert "secret" not in names(nova)
    assert nova.get(f"{FLAVORS}/1/os-flavor-access", person="admin").status == 404
    assert nova.post(f"{FLAVORS}/1/action", {"addTenantAccess": {"tenant": PROJECT}}, person="admin").status == 409


def test_lists_are_narrowed_sorted_and_paged(nova: Nova) -> None:
    assert names(nova, minRam=16384) == {"m1.xlarge", "test.huge"}
    assert names(nova, minDisk=160) == {"m1.xlarge"}
    assert nova.get(FLAVORS, minRam="much").status == 400
    by_ram = [one["ram"] for one in nova.get(f"{FLAVORS}/detail", sort_key="memory_mb", sort_dir="desc").json()["flavors"]]
    assert by_ram == sorted(by_ram, reverse=True)
    assert nova.get(FLAVORS, sort_key="secret").status == 400
    assert nova.get(FLAVORS, sort_dir="up").status == 400
    first = nova.get(FLAVORS, limit=2).json()
    second = nova.get(FLAVORS, limit=2, marker=first["flavors"][-1]["id"]).json()
    ids = [one["id"] for page in (first, second) for one in page["flavors"]]
    assert ids == [one["id"] for one in nova.get(FLAVORS).json()["flavors"]][:4]
    assert nova.get(FLAVORS, marker="nobody").status == 400
    assert nova.get(FLAVORS, colour="blue").status == 400
    assert nova.get(FLAVORS, colour="blue", version="compute 2.74").status == 200


def test_the_kept_list_follows_every_change(nova: Nova) -> None:
    before = names(nova)
    assert names(nova) == before
    make(nova, name="new", id="new")
    assert names(nova) == before | {"new"}
    nova.post(f"{FLAVORS}/new/os-extra_specs", {"extra_specs": {"a": "b"}}, person="admin")
    (told,) = [one for one in nova.get(f"{FLAVORS}/detail").json()["flavors"] if one["id"] == "new"]
    assert told["extra_specs"] == {"a": "b"}
    assert nova.delete(f"{FLAVORS}/new", person="admin").status == 202
    assert names(nova) == before
    assert nova.delete(f"{FLAVORS}/new", person="admin").status == 404


def test_extra_specs(nova: Nova) -> None:
    make(nova, id="spec")
    specs = f"{FLAVORS}/spec/os-extra_specs"
    sent = {"hw:cpu_policy": "shared", "hw:numa_nodes": "1", "foo:bar": "baz"}
    assert nova.post(specs, {"extra_specs": sent}).status == 403
    assert nova.post(specs, {"extra_specs": sent}, person="admin").json() == {"extra_specs": sent}
    assert nova.get(specs).json() == {"extra_specs": sent}
    assert nova.get(f"{specs}/foo:bar").json() == {"foo:bar": "baz"}
    assert nova.get(f"{specs}/nothing").status == 404
    assert nova.put(f"{specs}/foo:bar", {"foo:bar": "two"}, person="admin").json() == {"foo:bar": "two"}
    for body in ({"other": "x"}, {"foo:bar": "x", "other": "y"}, {}, {"foo:bar": None}, []):
        assert nova.put(f"{specs}/foo:bar", body, person="admin").status == 400
    for wrong in ({"a/b": "x"}, {"": "x"}, {"a": "x" * 256}, {"a": {}}):
        assert nova.post(specs, {"extra_specs": wrong}, person="admin").status == 400
    assert nova.delete(f"{specs}/foo:bar", person="admin").status == 200
    assert nova.delete(f"{specs}/foo:bar", person="admin").status == 404
    assert set(nova.get(specs).json()["extra_specs"]) == {"hw:cpu_policy", "hw:numa_nodes"}


def test_specs_of_known_namespaces_are_checked_since_2_86(nova: Nova) -> None:
    specs = f"{FLAVORS}/1/os-extra_specs"
    for wrong in ({"hw:cpu_policy": "sometimes"}, {"hw:numa_nodes": "many"}, {"hw:nonsense": "x"}, {"quota:vif_inbound_average": "fast"}):
        assert nova.post(specs, {"extra_specs": wrong}, person="admin").status == 400, wrong
        assert nova.post(specs, {"extra_specs": wrong}, person="admin", version="compute 2.85").status == 200, wrong
    right = {"hw:cpu_policy": "dedicated", "trait:CUSTOM_X": "required", "resources:VGPU": "1", "hw:watchdog_action": "reset", "mine:x": "y"}
    assert nova.post(specs, {"extra_specs": right}, person="admin").status == 200
    assert nova.put(f"{specs}/hw:mem_page_size", {"hw:mem_page_size": "huge"}, person="admin").status == 400
    assert nova.put(f"{specs}/hw:mem_page_size", {"hw:mem_page_size": "2MB"}, person="admin").status == 200
