"""Routers, floating IPs and port forwardings: what may be joined, and what the router's host is told."""

from __future__ import annotations

from typing import Any

import pytest

from pilvi.kernel.testing.cloud import Cloud
from pilvi.network.drivers.fake import FakeWiring
from tests.network.speak import ask, bound, change, drop, interface, kind_of, lan, listed, make, outside, show


def joined(cloud: Cloud) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """An external network, a project network with its subnet, and the router between them."""
    public, _ = outside(cloud)
    network, subnet = lan(cloud)
    router = make(cloud, "router", name="r", external_gateway_info={"network_id": public["id"]})
    assert interface(cloud, router, subnet_id=subnet["id"]).status == 200
    return public, network, subnet, router


def test_a_router_joins_a_project_network_with_the_outside(cloud: Cloud, wiring: FakeWiring) -> None:
    public, network, subnet, router = joined(cloud)
    cloud.wait(lambda: router["id"] in wiring.routers and wiring.routers[router["id"]].legs and wiring.routers[router["id"]].gateway)
    seen = wiring.routers[router["id"]]
    assert [(leg.segment.id, leg.addresses[0].address) for leg in seen.legs] == [(network["id"], "10.0.0.1")]
    assert seen.gateway is not None
    assert seen.gateway.segment.id == public["id"]
    assert seen.gateway_addresses == ["203.0.113.1"]
    assert seen.snat
    info = show(cloud, "router", router["id"])["external_gateway_info"]
    assert info["external_fixed_ips"][0]["ip_address"] == seen.gateway.addresses[0].address
    cloud.wait(lambda: network["id"] in wiring.dhcp and wiring.dhcp[network["id"]].metadata is False)  # the router serves it now
    told = drop(cloud, "router", router["id"])
    assert (told.status, kind_of(told)) == (409, "RouterInUse")
    assert interface(cloud, router, verb="remove", subnet_id=subnet["id"]).status == 200
    assert drop(cloud, "router", router["id"]).status == 204
    cloud.wait(lambda: not wiring.routers)
    assert not [one for one in listed(cloud, "port", person="admin") if "router" in one["device_owner"]]


def test_a_router_is_in_a_subnet_once_and_its_subnets_lie_apart(cloud: Cloud) -> None:
    _, _, subnet, router = joined(cloud)
    assert interface(cloud, router, subnet_id=subnet["id"]).status == 400
    _, same = lan(cloud)
    told = interface(cloud, router, subnet_id=same["id"])
    assert (told.status, kind_of(told)) == (400, "BadRequest")
    assert interface(cloud, router).status == 400
    _, without = lan(cloud, cidr="10.7.0.0/24", gateway_ip=None)
    assert interface(cloud, router, subnet_id=without["id"]).status == 400
    assert interface(cloud, router, subnet_id=without["id"], person="stranger").status == 404


def test_a_port_becomes_an_interface_and_goes_with_it(cloud: Cloud) -> None:
    network, _ = lan(cloud)
    port = make(cloud, "port", network_id=network["id"])
    router = make(cloud, "router")
    told = interface(cloud, router, port_id=port["id"]).json()
    assert told["port_id"] == port["id"]
    assert show(cloud, "port", port["id"])["device_owner"] == "network:router_interface"
    other = make(cloud, "router")
    told = interface(cloud, other, port_id=port["id"])
    assert (told.status, kind_of(told)) == (409, "PortInUse")
    assert interface(cloud, other, verb="remove", port_id=port["id"]).status == 404
    assert interface(cloud, router, verb="remove", port_id=port["id"]).status == 200
    assert cloud.get(f"/network/v2.0/ports/{port['id']}").status == 404


def test_only_admins_choose_snat_and_gateway_addresses(cloud: Cloud, wiring: FakeWiring) -> None:
    public, _ = outside(cloud)
    info = {"network_id": public["id"], "enable_snat": False}
    assert ask(cloud, "router", external_gateway_info=info).status == 403
    fixed = {"network_id": public["id"], "external_fixed_ips": [{"ip_address": "203.0.113.99"}]}
    assert ask(cloud, "router", external_gateway_info=fixed).status == 403
    router = make(cloud, "router", person="admin", external_gateway_info=info | fixed)
    assert router["external_gateway_info"]["external_fixed_ips"][0]["ip_address"] == "203.0.113.99"
    cloud.wait(lambda: router["id"] in wiring.routers and not wiring.routers[router["id"]].snat)
    assert ask(cloud, "router", external_gateway_info={"network_id": lan(cloud)[0]["id"]}).status == 400


def test_routes_lead_to_neighbours_and_keep_their_subnet(cloud: Cloud, wiring: FakeWiring) -> None:
    _, _, subnet, router = joined(cloud)
    route = {"destination": "10.50.0.0/16", "nexthop": "10.0.0.9"}
    assert change(cloud, "router", router["id"], routes=[route | {"nexthop": "10.99.0.1"}]).status == 400
    assert change(cloud, "router", router["id"], routes=[route | {"nexthop": "10.0.0.1"}]).status == 400
    where = f"/network/v2.0/routers/{router['id']}"
    assert cloud.put(f"{where}/add_extraroutes", {"router": {"routes": [route]}}).json()["router"]["routes"] == [route]
    cloud.wait(lambda: router["id"] in wiring.routers and [one.nexthop for one in wiring.routers[router["id"]].routes] == ["10.0.0.9"])
    told = interface(cloud, router, verb="remove", subnet_id=subnet["id"])
    assert (told.status, kind_of(told)) == (409, "RouterInterfaceInUseByRoute")
    assert cloud.put(f"{where}/remove_extraroutes", {"router": {"routes": [route]}}).json()["router"]["routes"] == []


def test_a_floating_ip_leads_to_a_port_and_is_active_when_its_router_carries_it(cloud: Cloud, wiring: FakeWiring) -> None:
    public, network, subnet, router = joined(cloud)
    port = bound(cloud, network)
    floating = make(cloud, "floatingip", floating_network_id=public["id"])
    assert (floating["status"], floating["port_id"], floating["router_id"]) == ("DOWN", None, None)
    told = change(cloud, "floatingip", floating["id"], port_id=port["id"]).json()["floatingip"]
    assert (told["fixed_ip_address"], told["router_id"]) == (port["fixed_ips"][0]["ip_address"], router["id"])
    assert told["port_details"]["device_id"] == "server"
    cloud.wait(lambda: show(cloud, "floatingip", floating["id"])["status"] == "ACTIVE")
    (carried,) = wiring.routers[router["id"]].floating_ips
    assert (carried.floating, carried.fixed) == (floating["floating_ip_address"], port["fixed_ips"][0]["ip_address"])
    second = ask(cloud, "floatingip", floating_network_id=public["id"], port_id=port["id"])
    assert (second.status, kind_of(second)) == (409, "FloatingIPPortAlreadyAssociated")
    told = interface(cloud, router, verb="remove", subnet_id=subnet["id"])
    assert (told.status, kind_of(told)) == (409, "RouterInterfaceInUseByFloatingIP")
    told = change(cloud, "router", router["id"], external_gateway_info={})
    assert (told.status, kind_of(told)) == (409, "RouterExternalGatewayInUseByFloatingIp")
    drop(cloud, "port", port["id"])
    seen = show(cloud, "floatingip", floating["id"])
    assert (seen["status"], seen["port_id"], seen["fixed_ip_address"], seen["router_id"]) == ("DOWN", None, None, None)
    cloud.wait(lambda: not wiring.routers[router["id"]].floating_ips)
    assert drop(cloud, "floatingip", floating["id"]).status == 204
    assert not [one for one in listed(cloud, "port", person="admin") if one["device_owner"] == "network:floatingip"]


def test_a_floating_ip_needs_a_road_and_a_free_address(cloud: Cloud) -> None:
    public, _ = outside(cloud)
    network, _ = lan(cloud)
    port = make(cloud, "port", network_id=network["id"])
    told = ask(cloud, "floatingip", floating_network_id=public["id"], port_id=port["id"])
    assert (told.status, kind_of(told)) == (404, "ExternalGatewayForFloatingIPNotFound")
    assert listed(cloud, "floatingip") == []
    assert ask(cloud, "floatingip", floating_network_id=network["id"]).status == 400
    assert ask(cloud, "floatingip", floating_network_id=public["id"], floating_ip_address="203.0.113.50").status == 403
    chosen = make(cloud, "floatingip", person="admin", floating_network_id=public["id"], floating_ip_address="203.0.113.50")
    assert chosen["floating_ip_address"] == "203.0.113.50"
    told = ask(cloud, "floatingip", person="admin", floating_network_id=public["id"], floating_ip_address="203.0.113.50")
    assert told.status == 409


def test_single_ports_of_a_floating_ip_lead_inside(cloud: Cloud, wiring: FakeWiring) -> None:
    public, network, _, router = joined(cloud)
    port = make(cloud, "port", network_id=network["id"])
    floating = make(cloud, "floatingip", floating_network_id=public["id"])
    where = f"/network/v2.0/floatingips/{floating['id']}/port_forwardings"
    wish = {"internal_port_id": port["id"], "internal_port": 80, "external_port": 8080, "protocol": "tcp"}
    made = cloud.post(where, {"port_forwarding": wish})
    assert made.status == 201
    assert made.json()["port_forwarding"]["internal_ip_address"] == port["fixed_ips"][0]["ip_address"]
    assert cloud.post(where, {"port_forwarding": wish}).status == 400
    assert cloud.post(where, {"port_forwarding": wish}, person="stranger").status == 404
    assert cloud.post(where, {"port_forwarding": wish}, person="reader").status == 403
    cloud.wait(lambda: router["id"] in wiring.routers and [one.floating_port for one in wiring.routers[router["id"]].forwardings] == [8080])
    told = change(cloud, "floatingip", floating["id"], port_id=port["id"])
    assert (told.status, kind_of(told)) == (409, "FipInUseByPortForwarding")
    one = f"{where}/{made.json()['port_forwarding']['id']}"
    assert cloud.put(one, {"port_forwarding": {"external_port": 8081}}).json()["port_forwarding"]["external_port"] == 8081
    assert cloud.delete(one).status == 204
    assert show(cloud, "floatingip", floating["id"])["router_id"] is None


@pytest.mark.parametrize("mode", ["slaac", "dhcpv6-stateless"])
def test_a_router_tells_guests_how_to_make_addresses(cloud: Cloud, wiring: FakeWiring, mode: str) -> None:
    _, subnet = lan(cloud, cidr="2001:db8::/64", ipv6_ra_mode=mode, ipv6_address_mode=mode)
    router = make(cloud, "router")
    interface(cloud, router, subnet_id=subnet["id"])
    cloud.wait(lambda: router["id"] in wiring.routers and [leg.advertise for leg in wiring.routers[router["id"]].legs] == [mode])
