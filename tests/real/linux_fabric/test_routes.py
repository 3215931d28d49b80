"""Routers and tunnels, proved by guests."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from pilvi.network.drivers import FloatingIp, Forwarding, Rule, Segment
from pilvi.network.drivers.linux import MetadataRequest, links
from tests.drivers.fabric_contract import (
    EVERYTHING_OUT,
    OPEN,
    PING,
    a_dhcp,
    a_leg,
    a_port,
    a_router,
    a_segment,
    an_external,
    new_id,
)

from .guests import answers, connect, echo
from .hosts import Host


def test_a_router_translates(host: Host) -> None:
    segment, external = a_segment(), an_external()
    fabric, router = host.fabric, a_router(segment, external)
    fabric.ensure_outside("public", "198.51.100.0/24", "198.51.100.1")
    fabric.ensure_router(router)
    one = host.guest(a_port(segment, rules=OPEN), gateway="10.0.1.1")
    two = host.guest(a_port(segment, "10.0.1.12", rules=OPEN), gateway="10.0.1.1")
    first = FloatingIp(id=new_id(), floating="198.51.100.50", fixed="10.0.1.11")
    second = FloatingIp(id=new_id(), floating="198.51.100.60", fixed="10.0.1.12")
    door = Forwarding(id=new_id(), protocol="tcp", floating="198.51.100.51", floating_port=2222, fixed="10.0.1.12", fixed_port=22)

    def become(**parts: object) -> None:
        fabric.ensure_router(msgspec.structs.replace(router, **parts))

    with echo(host.machine, 80, "outside"), echo(one.name, 22, "one"), echo(two.name, 22, "two"):
        # the shared address of all
        outward = connect(one.name, "198.51.100.1", 80)
        assert answers(outward) == "outside 198.51.100.2"
        become(floating_ips=[first], forwardings=[door])
        assert answers(outward) == "outside 198.51.100.2"
        # in and out by the floating address; the port of another
        inward = connect(host.machine, "198.51.100.50", 22)
        assert answers(inward) == "one 198.51.100.1"
        assert answers(connect(one.name, "198.51.100.1", 80)) == "outside 198.51.100.50"
        assert answers(connect(host.machine, "198.51.100.51", 2222)) == "two 198.51.100.1"
        assert answers(connect(two.name, "198.51.100.1", 80)) == "outside 198.51.100.2"
        # a guest that calls a neighbour, or itself, by its floating address
        assert answers(connect(two.name, "198.51.100.50", 22)) == "one 198.51.100.2"
        assert answers(connect(one.name, "198.51.100.51", 2222)) == "two 198.51.100.50"
        # more translations do not cut, fewer do
        become(floating_ips=[first, second], forwardings=[door])
        assert answers(inward) == "one 198.51.100.1"
        assert answers(outward) == "outside 198.51.100.2"
        become(floating_ips=[second])
        inward.settimeout(0.7)
        assert answers(inward) == ""
        assert answers(outward) == "outside 198.51.100.2"
        for gone in (("198.51.100.50", 22), ("198.51.100.51", 2222)):
            with pytest.raises(OSError):
                connect(host.machine, *gone, timeout=0.5)
        # the address moves to another guest, and the neighbours learn where it is now
        become(floating_ips=[msgspec.structs.replace(first, fixed="10.0.1.12")])
        assert answers(connect(host.machine, "198.51.100.50", 22)) == "two 198.51.100.1"
        become(snat=False)
        with pytest.raises(OSError):
            connect(two.name, "198.51.100.1", 80, timeout=0.5)
        # metadata by way of the router, and not from outside
        asked = msgspec.json.decode(one.fetch("http://169.254.169.254/x"), type=MetadataRequest)
        assert (asked.client, asked.network_id, asked.router_id) == ("10.0.1.11", "", router.id)
        with pytest.raises(OSError):
            connect(host.machine, "198.51.100.2", 9697, timeout=0.5)


def test_routers_route_between_networks_and_by_extra_routes(host: Host) -> None:
    red, blue, external = a_segment(4001), a_segment(4002), an_external()
    router = a_router(red, external)
    router = msgspec.structs.replace(router, legs=[*router.legs, a_leg(blue, "10.0.2.1", "fa:16:3e:ee:00:03")], gateway=None)
    host.fabric.ensure_router(msgspec.structs.replace(router, routes=[]))
    one = host.guest(a_port(red, rules=OPEN), gateway="10.0.1.1")
    two = host.guest(msgspec.structs.replace(a_port(blue, "10.0.2.12", rules=OPEN), allowed_pairs=[("10.77.0.0/16", "")]), gateway="10.0.2.1")
    links.ip(["addr add 10.77.0.1/16 dev eth0"], namespace=two.name)
    assert one.reaches("10.0.2.12")
    assert one.cannot_reach("10.77.0.1")
    extra = [msgspec.structs.replace(router.routes[0], nexthop="10.0.2.12")]
    host.fabric.ensure_router(msgspec.structs.replace(router, routes=extra))
    assert one.reaches("10.77.0.1")
    host.fabric.ensure_router(msgspec.structs.replace(router, routes=extra, admin_up=False))
    assert one.cannot_reach("10.0.2.12")
    host.fabric.ensure_router(msgspec.structs.replace(router, routes=[]))
    assert one.reaches("10.0.2.12")
    assert one.cannot_reach("10.77.0.1")


def test_vxlan_joins_two_hosts(new_host: Callable[..., Host]) -> None:
    east, west = new_host("192.0.2.1"), new_host("192.0.2.2")
    links.ip([f"link add under netns {east.machine} type veth peer name under netns {west.machine}"])
    for host in (east, west):
        links.ip([f"addr add {host.tunnel_address}/24 dev under", "link set under mtu 1600 up"], namespace=host.machine)
    segment = Segment(id=new_id(), kind="vxlan", segmentation_id=4711, mtu=1450)
    here = msgspec.structs.replace(segment, local_address="192.0.2.1", peers=["192.0.2.2"])
    there = msgspec.structs.replace(segment, local_address="192.0.2.2", peers=["192.0.2.1"])
    far = a_port(there, "10.0.1.12", rules=[*EVERYTHING_OUT, Rule(direction="ingress", ether="IPv4", remote=["10.0.1.11"])])
    east.fabric.ensure_segment(here), west.fabric.ensure_segment(there)
    east.fabric.ensure_dhcp(a_dhcp(here, far))
    one, two = east.guest(a_port(here, rules=[*EVERYTHING_OUT, PING])), west.guest(far, by_hand=False)
    assert two.lease()["ip"] == "10.0.1.12"
    assert one.reaches("10.0.1.12")
    assert two.reaches("10.0.1.11")
    assert one.run("ping", "-c1", "-W2", "-M", "do", "-s", "1422", "10.0.1.12").returncode == 0
    east.fabric.ensure_segment(segment)
    assert one.cannot_reach("10.0.1.12")
    for _ in range(2):
        east.fabric.ensure_segment(here)
    assert one.reaches("10.0.1.12")


def test_guests_reach_the_wide_world_behind_the_machine_when_told(new_host: Callable[..., Host]) -> None:
    host, world = new_host(masquerade=True), new_host()
    links.ip([f"link add wan type veth peer name wan netns {world.machine}"], namespace=host.machine)
    for machine, address in ((host.machine, "192.0.2.1"), (world.machine, "192.0.2.2")):
        links.ip([f"addr add {address}/24 dev wan", "link set wan up"], namespace=machine)
    links.ip(["route add default via 192.0.2.2"], namespace=host.machine)
    segment = a_segment()
    host.fabric.ensure_router(a_router(segment, an_external()))
    guest = host.guest(a_port(segment, rules=OPEN), gateway="10.0.1.1")
    with echo(world.machine, 80, "world"):
        for _ in range(2):
            host.fabric.ensure_outside("public", "198.51.100.0/24", "198.51.100.1")
            assert answers(connect(guest.name, "192.0.2.2", 80)) == "world 192.0.2.1"
        host.fabric.remove_outside("public", "198.51.100.0/24")
        assert "masquerade" not in links.run(["nft", "list", "ruleset"], namespace=host.machine)
