"""The contract that every network driver must keep: verbs may be said twice, and `observe` tells what lies there."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from pilvi.kernel.errors import HostError
from pilvi.network.drivers import (
    Dhcp,
    DhcpSubnet,
    Fabric,
    FabricState,
    FixedIp,
    FloatingIp,
    Forwarding,
    HostRoute,
    Lease,
    Port,
    Router,
    RouterLeg,
    Rule,
    Segment,
)

NOTHING = FabricState()
EVERYTHING_OUT = [Rule(direction="egress", ether="IPv4"), Rule(direction="egress", ether="IPv6")]
OPEN = [*EVERYTHING_OUT, Rule(direction="ingress", ether="IPv4"), Rule(direction="ingress", ether="IPv6")]
PING = Rule(direction="ingress", ether="IPv4", protocol="icmp")


def new_id() -> str:
    return str(uuid.uuid4())


def a_segment(number: int = 4001, mtu: int = 1450) -> Segment:
    return Segment(id=new_id(), kind="vxlan", segmentation_id=number, mtu=mtu)


def an_external(physical_network: str = "public") -> Segment:
    return Segment(id=new_id(), kind="flat", physical_network=physical_network, mtu=1500)


def a_port(segment: Segment, address: str = "10.0.1.11", *, prefix: int = 24, rules: list[Rule] | None = None, zone: int = 1) -> Port:
    port_id = new_id()
    mac = f"fa:16:3e:{port_id[0:2]}:{port_id[2:4]}:{port_id[4:6]}"
    return Port(
        id=port_id,
        mac=mac,
        segment=segment,
        tap="tap" + port_id[:11],
        fixed_ips=[FixedIp(address=address, prefix=prefix)],
        rules=EVERYTHING_OUT if rules is None else rules,
        zone=zone,
    )


def a_lease(port: Port, name: str = "") -> Lease:
    return Lease(port_id=port.id, mac=port.mac, addresses=port.fixed_ips, hostname=name)


def a_dhcp(segment: Segment, *ports: Port, metadata: bool = True) -> Dhcp:
    return Dhcp(
        segment=segment,
        port_id=new_id(),
        mac="fa:16:3e:dd:00:02",
        addresses=[FixedIp(address="10.0.1.2", prefix=24)],
        subnets=[DhcpSubnet(id=new_id(), cidr="10.0.1.0/24", gateway="10.0.1.1")],
        leases=[a_lease(port) for port in ports],
        domain="cloud.example",
        metadata=metadata,
    )


def a_leg(segment: Segment, address: str, mac: str) -> RouterLeg:
    return RouterLeg(port_id=new_id(), mac=mac, segment=segment, addresses=[FixedIp(address=address, prefix=24)])


def a_router(segment: Segment, external: Segment) -> Router:
    return Router(
        id=new_id(),
        legs=[a_leg(segment, "10.0.1.1", "fa:16:3e:ee:00:01")],
        gateway=a_leg(external, "198.51.100.2", "fa:16:3e:ee:00:02"),
        gateway_addresses=["198.51.100.1"],
        routes=[HostRoute(destination="10.77.0.0/16", nexthop="10.0.1.99")],
    )


class FabricContract:
    """Subclass it with a fixture `fabric`: a driver on an empty host, with "public" mapped to a wire of its own."""

    def test_an_empty_host_shows_nothing_and_knows_itself(self, fabric: Fabric) -> None:
        assert fabric.observe() == NOTHING
        facts = fabric.facts()
        assert facts["bridge_mappings"] == {"public": ""}
        assert facts["tunnel_types"] == ["vxlan"]
        assert facts["tunnel_address"]

    def test_removing_what_is_absent_is_silent(self, fabric: Fabric) -> None:
        for _ in range(2):
            fabric.remove_port(new_id())
            fabric.remove_dhcp(new_id())
            fabric.remove_router(new_id())
            fabric.remove_segment(new_id())
            fabric.remove_outside("public", "198.51.100.0/24")
        assert fabric.observe() == NOTHING

    def test_a_segment(self, fabric: Fabric) -> None:
        one, two = a_segment(), a_segment(4002)
        fabric.ensure_segment(one)
        fabric.ensure_segment(one)
        assert fabric.observe().segments == [one.id]
        fabric.ensure_segment(msgspec.structs.replace(one, mtu=1400))
        fabric.ensure_segment(two)
        assert fabric.observe().segments == sorted([one.id, two.id])
        fabric.remove_segment(one.id)
        fabric.remove_segment(one.id)
        assert fabric.observe() == FabricState(segments=[two.id])

    def test_an_unmapped_physical_network_is_refused_in_words(self, fabric: Fabric) -> None:
        with pytest.raises(HostError, match="no bridge mapping for the physical network 'elsewhere'"):
            fabric.ensure_segment(an_external("elsewhere"))
        with pytest.raises(HostError, match="no bridge mapping"):
            fabric.ensure_outside("elsewhere", "198.51.100.0/24", "198.51.100.1")
        assert fabric.observe() == NOTHING

    def test_a_port_in_each_of_its_states(self, fabric: Fabric) -> None:
        segment = a_segment()
        port = a_port(segment)
        fabric.ensure_segment(segment)
        for _ in range(2):
            fabric.ensure_port(port)
        states = (
            {"rules": [*port.rules, Rule(direction="ingress", ether="IPv4", protocol="tcp", port_min=22, port_max=22, remote=["10.0.0.0/8"])]},
            {"rules": [Rule(direction="ingress", ether="IPv4", remote=[])]},
            {"stateful": False},
            {"admin_up": False},
            {"port_security": False},
            {"allowed_pairs": [("10.9.0.0/16", ""), ("0.0.0.0/0", "fa:16:3e:00:00:09"), ("2001:db8::/64", "")]},
            {"fixed_ips": []},
        )
        for state in states:
            for _ in range(2):
                fabric.ensure_port(msgspec.structs.replace(port, **state))
            assert fabric.observe() == FabricState(segments=[segment.id], ports=[port.id])
        for _ in range(2):
            fabric.remove_port(port.id)
            assert fabric.observe() == FabricState(segments=[segment.id])

    def test_a_port_brings_its_network(self, fabric: Fabric) -> None:
        port = a_port(a_segment())
        fabric.ensure_port(port)
        assert fabric.observe() == FabricState(segments=[port.segment.id], ports=[port.id])

    def test_ports_of_a_new_network_are_plugged_at_once(self, fabric: Fabric) -> None:
        segment = a_segment()
        ports = [a_port(segment, f"10.0.1.{last}", rules=OPEN) for last in range(11, 19)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fabric.ensure_port, ports))
        assert fabric.observe() == FabricState(segments=[segment.id], ports=sorted(port.id for port in ports))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fabric.remove_port, [port.id for port in ports]))
        assert fabric.observe().ports == []

    def test_many_rules_and_ports(self, fabric: Fabric) -> None:
        segment = a_segment()
        rules = [
            Rule(direction=direction, ether=ether, protocol=protocol, port_min=low, port_max=high, remote=remote)  # type: ignore[arg-type]
            for direction in ("ingress", "egress")
            for ether in ("IPv4", "IPv6")
            for protocol, low, high in (
                ("", None, None), ("tcp", 1, 65535), ("udp", 53, None), ("icmp", None, None), ("icmp", 8, 0), ("icmp", 3, None),
                ("ipv6-icmp", 128, None), ("sctp", 5, 9), ("gre", None, None), ("0", None, None), ("132", 7, 7), ("vrrp", None, None),
            )
            for remote in (None, ["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"], ["0.0.0.0/0", "::/0"], ["10.0.1.5", "2001:db8::5"])
            if not (ether == "IPv4" and protocol == "ipv6-icmp")
        ]  # fmt: skip
        ports = [a_port(segment, f"10.0.1.{last}", rules=rules) for last in (11, 12, 13)]
        for port in ports:
            fabric.ensure_port(port)
        fabric.remove_port(ports[1].id)
        assert fabric.observe().ports == sorted([ports[0].id, ports[2].id])

    def test_dhcp(self, fabric: Fabric) -> None:
        segment = a_segment()
        port = a_port(segment)
        dhcp = a_dhcp(segment)
        fabric.ensure_segment(segment)
        for wish in (dhcp, msgspec.structs.replace(dhcp, leases=[a_lease(port, "web")]), msgspec.structs.replace(dhcp, metadata=False)):
            for _ in range(2):
                fabric.ensure_dhcp(wish)
                assert fabric.observe() == FabricState(segments=[segment.id], dhcp=[segment.id])
        assert fabric.reach(segment.id)
        for _ in range(2):
            fabric.remove_dhcp(segment.id)
            assert fabric.observe() == FabricState(segments=[segment.id])

    def test_a_router_in_each_of_its_states(self, fabric: Fabric) -> None:
        segment, other, external = a_segment(), a_segment(4002), an_external()
        for each in (segment, other, external):
            fabric.ensure_segment(each)
        router = a_router(segment, external)
        floating = FloatingIp(id=new_id(), floating="198.51.100.50", fixed="10.0.1.11")
        forwarding = Forwarding(
            id=new_id(), protocol="tcp", floating="198.51.100.51", floating_port=2222, fixed="10.0.1.11", fixed_port=22
        )
        bare = Router(id=router.id)
        states: list[tuple[Router, list[str]]] = [
            (bare, []),
            (router, []),
            (msgspec.structs.replace(router, floating_ips=[floating]), ["198.51.100.50"]),
            (msgspec.structs.replace(router, floating_ips=[floating], forwardings=[forwarding]), ["198.51.100.50", "198.51.100.51"]),
            (msgspec.structs.replace(router, floating_ips=[floating], admin_up=False), []),
            (msgspec.structs.replace(router, legs=[*router.legs, a_leg(other, "10.0.2.1", "fa:16:3e:ee:00:03")], routes=[]), []),
            (msgspec.structs.replace(router, legs=[], routes=[]), []),
            (bare, []),
        ]
        for wish, addresses in states:
            for _ in range(2):
                fabric.ensure_router(wish)
                seen = fabric.observe()
                assert (seen.routers, seen.floating_ips) == ([router.id], addresses)
        assert fabric.reach(router.id)
        for _ in range(2):
            fabric.remove_router(router.id)
            assert fabric.observe() == FabricState(segments=sorted([segment.id, other.id, external.id]))

    def test_the_outside(self, fabric: Fabric) -> None:
        for _ in range(2):
            fabric.ensure_outside("public", "198.51.100.0/24", "198.51.100.1")
        external = an_external()
        fabric.ensure_segment(external)
        for _ in range(2):
            fabric.remove_outside("public", "198.51.100.0/24")
        assert fabric.observe() == FabricState(segments=[external.id])

    def test_what_is_not_served_cannot_be_reached(self, fabric: Fabric) -> None:
        with pytest.raises(HostError, match="Neither a router nor a network"):
            fabric.reach(new_id())
