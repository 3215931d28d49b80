"""Floating IPs and networks by compute's older API."""

from __future__ import annotations

from typing import Any

from tests.compute.conftest import Nova

FLOATING = "/compute/v2.1/os-floating-ips"
OLD: dict[str, Any] = {"version": "compute 2.35"}


def outside(nova: Nova) -> str:
    """An external network named public, and a private one behind a router to it; answers the private one."""
    admin: dict[str, Any] = {"person": "admin"}
    public = nova.cloud.post("/network/v2.0/networks", {"network": {"name": "public", "router:external": True}}, **admin).json()["network"]["id"]
    subnet = {"network_id": public, "cidr": "203.0.113.0/28", "ip_version": 4}
    assert nova.cloud.post("/network/v2.0/subnets", {"subnet": subnet}, **admin).status == 201
    private = nova.network()
    (inner,) = nova.cloud.get("/network/v2.0/subnets", network_id=private).json()["subnets"]
    router = nova.cloud.post("/network/v2.0/routers", {"router": {"external_gateway_info": {"network_id": public}}}).json()["router"]["id"]
    joined = nova.cloud.put(f"/network/v2.0/routers/{router}/add_router_interface", {"subnet_id": inner["id"]})
    assert joined.status == 200, joined
    return private


def test_a_floating_ip_leads_to_a_server_and_back(nova: Nova) -> None:
    private = outside(nova)
    assert nova.get("/compute/v2.1/os-floating-ip-pools", **OLD).json() == {"floating_ip_pools": [{"name": "public"}]}
    made = nova.post(FLOATING, {"pool": "public"}, **OLD).json()["floating_ip"]
    assert made == {"id": made["id"], "ip": made["ip"], "pool": "public", "fixed_ip": None, "instance_id": None}
    ref = nova.boot(networks=[{"uuid": private}])
    fixed = nova.show(ref)["addresses"]["private"][0]["addr"]
    nova.act(ref, "addFloatingIp", {"address": made["ip"], "fixed_address": "10.0.0.250"}, answers=409, **OLD)
    nova.act(ref, "addFloatingIp", {"address": made["ip"], "fixed_address": fixed}, **OLD)
    shown = nova.get(f"{FLOATING}/{made['id']}", **OLD).json()["floating_ip"]
    assert (shown["fixed_ip"], shown["instance_id"]) == (fixed, ref)
    assert nova.get(FLOATING, **OLD).json() == {"floating_ips": [shown]}
    assert made["ip"] in {one["addr"] for one in nova.show(ref)["addresses"]["private"]}
    nova.act(ref, "removeFloatingIp", {"address": made["ip"]}, **OLD)
    nova.act(ref, "removeFloatingIp", {"address": made["ip"]}, answers=409, **OLD)
    nova.act(ref, "addFloatingIp", {"address": made["ip"]}, version="compute 2.43")
    nova.act(ref, "addFloatingIp", {"address": made["ip"]}, answers=400, version="compute 2.44")
    nova.act(ref, "addFloatingIp", {"address": "203.0.113.99"}, answers=404, **OLD)
    nova.act(ref, "addFloatingIp", {"address": "nowhere"}, answers=400, **OLD)
    assert nova.delete(f"{FLOATING}/{made['id']}", **OLD).status == 202
    assert nova.get(f"{FLOATING}/{made['id']}", **OLD).status == 404
    assert [one["addr"] for one in nova.show(ref)["addresses"]["private"]] == [fixed]


def test_without_a_pool(nova: Nova) -> None:
    assert nova.post(FLOATING, {}, **OLD).status == 404
    outside(nova)
    assert nova.post(FLOATING, {"pool": "nowhere"}, **OLD).status == 404
    assert nova.post(FLOATING, {"pool": 7}, **OLD).status == 400
    made = nova.post(FLOATING, {}, **OLD).json()["floating_ip"]
    assert made["pool"] == "public"
    for told in (nova.get(f"{FLOATING}/{made['id']}", person="stranger", **OLD), nova.delete(f"{FLOATING}/x", **OLD)):
        assert told.status == 404
    assert nova.get(FLOATING, person="stranger", **OLD).json() == {"floating_ips": []}
    assert nova.post(FLOATING, {}, person="reader", **OLD).status == 403
    assert nova.get(FLOATING, version="compute 2.36").status == 404


def test_networks(nova: Nova) -> None:
    private = outside(nova)
    told = {one["id"]: one for one in nova.get("/compute/v2.1/os-networks", **OLD).json()["networks"]}
    assert {one["label"] for one in told.values()} == {"private", "public"}
    assert nova.get(f"/compute/v2.1/os-networks/{private}", **OLD).json()["network"] == told[private]
    assert nova.get(f"/compute/v2.1/os-tenant-networks/{private}", **OLD).json()["network"] == {"id": private, "label": "private", "cidr": None}
    assert private in {one["id"] for one in nova.get("/compute/v2.1/os-tenant-networks", **OLD).json()["networks"]}
    assert private not in {one["id"] for one in nova.get("/compute/v2.1/os-networks", person="stranger", **OLD).json()["networks"]}
    for path in ("os-networks", "os-tenant-networks"):
        assert nova.get(f"/compute/v2.1/{path}/{private}", person="stranger", **OLD).status == 404
        assert nova.get(f"/compute/v2.1/{path}", version="compute 2.36").status == 404
