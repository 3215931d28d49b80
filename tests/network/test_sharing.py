"""Sharing, quotas, tags, trunks and topologies: what projects have of one another and of the cloud."""

from __future__ import annotations

import pytest

from pilvi.kernel.testing.cloud import Cloud
from tests.network.speak import ask, change, drop, kind_of, lan, listed, make, outside, path, show

THEIRS = "2" * 32


def test_a_shared_network_is_seen_by_whom_it_is_shared_with(cloud: Cloud) -> None:
    network, subnet = lan(cloud)
    policy = make(cloud, "rbac_policy", object_type="network", object_id=network["id"], action="access_as_shared", target_tenant=THEIRS)
    assert show(cloud, "network", network["id"], person="stranger")["shared"] is True
    assert [one["id"] for one in listed(cloud, "subnet", person="stranger")] == [subnet["id"]]
    assert show(cloud, "network", network["id"])["shared"] is False
    port = make(cloud, "port", person="stranger", network_id=network["id"])
    told = drop(cloud, "rbac_policy", policy["id"])
    assert (told.status, kind_of(told)) == (409, "RbacPolicyInUse")
    assert drop(cloud, "port", port["id"], person="stranger").status == 204
    assert drop(cloud, "rbac_policy", policy["id"]).status == 204
    assert cloud.get(f"/network/v2.0/networks/{network['id']}", person="stranger").status == 404


def test_sharing_with_everyone_is_for_admins(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    wish = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared"}
    assert ask(cloud, "rbac_policy", **wish, target_tenant="*").status == 403
    assert ask(cloud, "rbac_policy", **wish, target_project="*").status == 403
    assert change(cloud, "network", network["id"], shared=True).status == 403
    assert change(cloud, "network", network["id"], person="admin", shared=True).status == 200
    assert [one["target_tenant"] for one in listed(cloud, "rbac_policy", person="admin")] == ["*"]
    port = make(cloud, "port", person="stranger", network_id=network["id"])
    told = change(cloud, "network", network["id"], person="admin", shared=False)
    assert (told.status, kind_of(told)) == (409, "InvalidSharedSetting")
    drop(cloud, "port", port["id"], person="stranger")
    assert change(cloud, "network", network["id"], person="admin", shared=False).json()["network"]["shared"] is False


def test_others_things_are_not_shared_by_strangers(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    wish = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared", "target_tenant": THEIRS}
    assert ask(cloud, "rbac_policy", person="stranger", **wish).status == 404
    assert ask(cloud, "rbac_policy", object_type="moon", object_id="x", action="access_as_shared", target_tenant=THEIRS).status == 400


def test_quotas_hold_and_tell_what_is_used(cloud: Cloud) -> None:
    mine = "1" * 32
    where = f"/network/v2.0/quotas/{mine}"
    assert cloud.put(where, {"quota": {"network": 1}}).status == 403
    assert cloud.put(where, {"quota": {"network": 1}}, person="admin").json()["quota"]["network"] == 1
    make(cloud, "network")
    told = ask(cloud, "network")
    assert (told.status, kind_of(told)) == (409, "OverQuota")
    assert cloud.get(f"{where}/details").json()["quota"]["network"] == {"limit": 1, "used": 1, "reserved": 0}
    assert cloud.get(f"{where}/default").json()["quota"]["network"] == 100
    assert cloud.get(where, person="stranger").status == 403
    assert cloud.put(where, {"quota": {"cats": 1}}, person="admin").status == 400
    assert [one["project_id"] for one in cloud.get("/network/v2.0/quotas", person="admin").json()["quotas"]] == [mine]
    assert cloud.delete(where, person="admin").status == 204
    make(cloud, "network")


@pytest.mark.parametrize("one", ["network", "router", "security_group"])
def test_tags_are_set_found_and_removed(cloud: Cloud, one: str) -> None:
    red, blue = make(cloud, one, name="red"), make(cloud, one, name="blue")
    where = f"{path(one)}/{red['id']}/tags"
    assert cloud.put(where, {"tags": ["red", "warm"]}).json() == {"tags": ["red", "warm"]}
    assert cloud.put(f"{path(one)}/{blue['id']}/tags/cold").status == 201
    assert cloud.put(f"{path(one)}/{blue['id']}/tags/Red").status == 201

    def found(query: str) -> set[str]:
        return {each["name"] for each in listed(cloud, one, query)} - {"default"}

    assert found("tags=red,warm") == {"red"}
    assert found("tags=red") == {"red"}  # not Red
    assert found("tags-any=red,cold") == {"red", "blue"}
    assert found("not-tags=red,warm") == {"blue"}
    assert found("not-tags-any=red,cold") == set()
    assert cloud.get(f"{where}/warm").status == 204
    assert cloud.get(f"{where}/cold").status == 404
    assert cloud.delete(f"{where}/warm").status == 204
    assert cloud.delete(f"{where}/warm").status == 404
    assert cloud.put(where, {"tags": ["a,b"]}).status == 400
    assert cloud.put(where, {"tags": ["x"]}, person="reader").status == 403
    assert cloud.put(where, {"tags": ["x"]}, person="stranger").status == 404
    assert cloud.delete(where).status == 204
    assert show(cloud, one, red["id"])["tags"] == []


def test_a_trunk_carries_ports_and_keeps_them(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    parent, child = (make(cloud, "port", network_id=network["id"]) for _ in range(2))
    trunk = make(cloud, "trunk", port_id=parent["id"], sub_ports=[{"port_id": child["id"], "segmentation_type": "vlan", "segmentation_id": 7}])
    assert trunk["sub_ports"][0]["segmentation_id"] == 7
    assert show(cloud, "port", parent["id"])["trunk_details"]["sub_ports"][0]["mac_address"] == child["mac_address"]
    assert drop(cloud, "port", parent["id"]).status == 409
    assert drop(cloud, "port", child["id"]).status == 409
    where = f"/network/v2.0/trunks/{trunk['id']}"
    assert cloud.put(f"{where}/remove_subports", {"sub_ports": [{"port_id": child["id"]}]}).json()["sub_ports"] == []
    assert cloud.get(f"{where}/get_subports").json() == {"sub_ports": []}
    assert drop(cloud, "trunk", trunk["id"]).status == 204
    assert drop(cloud, "port", parent["id"]).status == 204


def test_a_project_that_asks_for_any_network_gets_one(cloud: Cloud) -> None:
    where = "/network/v2.0/auto-allocated-topology"
    assert cloud.get(f"{where}/None").status == 409
    public, _ = outside(cloud)
    change(cloud, "network", public["id"], person="admin", is_default=True)
    make(cloud, "subnetpool", person="admin", prefixes=["10.200.0.0/16"], default_prefixlen=24, is_default=True, shared=True)
    assert cloud.get(f"{where}/None?fields=dry-run").json()["auto_allocated_topology"]["id"] == "dry-run=pass"
    made = cloud.get(f"{where}/None").json()["auto_allocated_topology"]["id"]
    assert cloud.get(f"{where}/None").json()["auto_allocated_topology"]["id"] == made
    assert {one["id"] for one in listed(cloud, "network", "router:external=false")} == {made}
    assert len(listed(cloud, "router")) == 1
    assert cloud.delete(f"{where}/None").status == 204
    assert listed(cloud, "network", "router:external=false") == []
    assert listed(cloud, "router") == []


def test_what_is_in_use_of_each_network_is_told_to_admins(cloud: Cloud) -> None:
    network, _ = lan(cloud, enable_dhcp=False)
    make(cloud, "port", network_id=network["id"])
    assert cloud.get(f"/network/v2.0/network-ip-availabilities/{network['id']}").status == 403
    told = cloud.get(f"/network/v2.0/network-ip-availabilities/{network['id']}", person="admin").json()["network_ip_availability"]
    assert (told["used_ips"], told["total_ips"]) == (1, 253)


def test_versions_and_extensions_are_told(cloud: Cloud) -> None:
    assert cloud.get("/network/", person="nobody").json()["versions"][0]["id"] == "v2.0"
    assert {one["collection"] for one in cloud.get("/network/v2.0", person="nobody").json()["resources"]} >= {"networks", "ports"}
    aliases = {one["alias"] for one in cloud.get("/network/v2.0/extensions").json()["extensions"]}
    assert {"router", "security-group", "binding", "quotas", "standard-attr-tag"} <= aliases
    assert cloud.get("/network/v2.0/extensions/router").json()["extension"]["alias"] == "router"
    assert cloud.get("/network/v2.0/extensions/moon").status == 404
    assert cloud.get("/network/v2.0/networks", person="nobody").status == 401
