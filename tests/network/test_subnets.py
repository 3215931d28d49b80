"""Subnets: ranges, pools, gateways, IPv6 modes, and what is cut from subnet pools."""

from __future__ import annotations

from typing import Any

import pytest

from pilvi.kernel.testing.cloud import Cloud
from tests.network.speak import ask, change, drop, kind_of, lan, listed, make, show

NINE: dict[str, Any] = {"cidr": "10.9.0.0/24", "ip_version": 4}


def test_gateway_and_pools_come_by_themselves(cloud: Cloud) -> None:
    _, subnet = lan(cloud, cidr="10.1.0.0/29")
    assert subnet["gateway_ip"] == "10.1.0.1"
    assert subnet["allocation_pools"] == [{"start": "10.1.0.2", "end": "10.1.0.6"}]
    _, without = lan(cloud, cidr="10.2.0.0/29", gateway_ip=None)
    assert without["gateway_ip"] is None
    assert without["allocation_pools"] == [{"start": "10.2.0.1", "end": "10.2.0.6"}]
    _, inside = lan(cloud, cidr="10.3.0.0/29", gateway_ip="10.3.0.4")
    assert inside["allocation_pools"] == [{"start": "10.3.0.1", "end": "10.3.0.3"}, {"start": "10.3.0.5", "end": "10.3.0.6"}]


@pytest.mark.parametrize(
    ("values", "status", "kind"),
    [
        ({"cidr": "nonsense", "ip_version": 4}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/24", "ip_version": 6}, 400, "InvalidInput"),
        ({"cidr": "10.0.0.128/25", "ip_version": 4}, 400, "InvalidInput"),  # overlaps
        ({"cidr": "10.9.0.0/24", "ip_version": 4, "gateway_ip": "10.9.0.255"}, 400, "InvalidInput"),
        (NINE | {"allocation_pools": [{"start": "10.9.0.1", "end": "10.9.0.9"}]}, 409, "GatewayConflictWithAllocationPools"),
        (NINE | {"allocation_pools": [{"start": "10.9.0.9", "end": "10.9.1.9"}]}, 400, "OutOfBoundsAllocationPool"),
        (NINE | {"allocation_pools": [{"start": "10.9.0.9", "end": "10.9.0.5"}]}, 400, "InvalidAllocationPool"),
        ({"cidr": "10.9.0.0/24", "ip_version": 4, "ipv6_ra_mode": "slaac"}, 400, "InvalidInput"),
        ({"cidr": "2001:db8::/80", "ip_version": 6, "ipv6_address_mode": "slaac"}, 400, "InvalidInput"),
        ({"cidr": "2001:db8::/64", "ip_version": 6, "ipv6_address_mode": "slaac", "ipv6_ra_mode": "dhcpv6-stateful"}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/24", "ip_version": 4, "dns_nameservers": ["8.8.8.8", "8.8.8.8"]}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/24", "ip_version": 4, "host_routes": [{"destination": "x", "nexthop": "10.9.0.1"}]}, 400, "InvalidInput"),
        ({"ip_version": 4}, 400, "BadRequest"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(cloud: Cloud, values: dict[str, Any], status: int, kind: str) -> None:
    network, _ = lan(cloud)
    told = ask(cloud, "subnet", network_id=network["id"], **values)
    assert (told.status, kind_of(told)) == (status, kind)
    assert len(listed(cloud, "subnet")) == 1


def test_ports_make_themselves_addresses_in_slaac_subnets_also_in_new_ones(cloud: Cloud) -> None:
    network = make(cloud, "network")
    mac = {"mac_address": "fa:16:3e:00:00:01"}
    slaac = {"ip_version": 6, "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    first = make(cloud, "subnet", network_id=network["id"], cidr="2001:db8:1::/64", **slaac)
    port = make(cloud, "port", network_id=network["id"], **mac)
    assert port["fixed_ips"] == [{"subnet_id": first["id"], "ip_address": "2001:db8:1:0:f816:3eff:fe00:1"}]
    second = make(cloud, "subnet", network_id=network["id"], cidr="2001:db8:2::/64", **slaac)
    assert {one["subnet_id"] for one in show(cloud, "port", port["id"])["fixed_ips"]} == {first["id"], second["id"]}
    told = ask(cloud, "port", network_id=network["id"], fixed_ips=[{"ip_address": "2001:db8:1::99"}])
    assert told.status == 400
    assert drop(cloud, "subnet", second["id"]).status == 204  # automatic addresses do not keep a subnet
    assert {one["subnet_id"] for one in show(cloud, "port", port["id"])["fixed_ips"]} == {first["id"]}


def test_a_subnet_with_addresses_in_use_stays(cloud: Cloud) -> None:
    network, subnet = lan(cloud)
    make(cloud, "port", network_id=network["id"])
    told = drop(cloud, "subnet", subnet["id"])
    assert (told.status, kind_of(told)) == (409, "SubnetInUse")


def test_subnets_are_cut_from_pools_without_overlap(cloud: Cloud) -> None:
    pool = make(cloud, "subnetpool", name="p", prefixes=["10.10.0.0/24", "10.10.1.0/24"], default_prefixlen=25, min_prefixlen=24)
    assert pool["prefixes"] == ["10.10.0.0/23"]
    assert pool["default_prefixlen"] == "25"
    network = make(cloud, "network")
    cut = [make(cloud, "subnet", network_id=network["id"], subnetpool_id=pool["id"])["cidr"] for _ in range(2)]
    cut.append(make(cloud, "subnet", network_id=network["id"], subnetpool_id=pool["id"], prefixlen=24)["cidr"])
    assert cut == ["10.10.0.0/25", "10.10.0.128/25", "10.10.1.0/24"]
    told = ask(cloud, "subnet", network_id=network["id"], subnetpool_id=pool["id"])
    assert (told.status, kind_of(told)) == (400, "SubnetAllocationError")
    told = drop(cloud, "subnetpool", pool["id"])
    assert (told.status, kind_of(told)) == (409, "SubnetPoolInUse")
    assert ask(cloud, "subnet", network_id=network["id"], subnetpool_id=pool["id"], person="stranger").status in (403, 404)


def test_pools_in_one_scope_do_not_overlap(cloud: Cloud) -> None:
    scope = make(cloud, "address_scope", name="s", ip_version=4)
    make(cloud, "subnetpool", name="a", prefixes=["10.0.0.0/16"], address_scope_id=scope["id"])
    told = ask(cloud, "subnetpool", name="b", prefixes=["10.0.128.0/24"], address_scope_id=scope["id"])
    assert (told.status, kind_of(told)) == (409, "AddressScopePrefixConflict")
    assert drop(cloud, "address_scope", scope["id"]).status == 409


def test_a_router_keeps_the_gateway_from_changing(cloud: Cloud) -> None:
    _, subnet = lan(cloud)
    router = make(cloud, "router")
    cloud.put(f"/network/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    told = change(cloud, "subnet", subnet["id"], gateway_ip="10.0.0.254")
    assert (told.status, kind_of(told)) == (409, "GatewayIpInUse")


def test_a_subnet_too_big_for_its_packets_is_refused(cloud: Cloud) -> None:
    network = make(cloud, "network", person="admin", mtu=1000)
    told = ask(cloud, "subnet", person="admin", network_id=network["id"], cidr="2001:db8::/64", ip_version=6)
    assert (told.status, kind_of(told)) == (409, "NetworkMTUSubnetConflict")
