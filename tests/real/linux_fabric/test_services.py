"""DHCP, names, metadata and IPv6 addresses, proved by guests."""

from __future__ import annotations

import contextlib
import socket
import struct

import msgspec
import pytest

from pilvi.network.drivers import DhcpSubnet, FixedIp, Router
from pilvi.network.drivers.linux import MetadataRequest, links
from tests.drivers.fabric_contract import (
    OPEN,
    a_dhcp,
    a_lease,
    a_leg,
    a_port,
    a_segment,
    new_id,
)

from .guests import connect, until
from .hosts import Host


def test_a_guest_leases_its_address_and_asks_for_metadata(host: Host) -> None:
    segment = a_segment()
    port, other = a_port(segment, rules=OPEN), a_port(segment, "10.0.1.12", rules=OPEN)
    unknown = a_port(segment, "10.0.1.13", rules=OPEN)
    web = msgspec.structs.replace(a_lease(port, "web"), options=[("bootfile-name", "boot.bin", 4), ("no-such-option", "1", 4)])
    dhcp = msgspec.structs.replace(a_dhcp(segment), leases=[web])
    host.fabric.ensure_dhcp(dhcp)
    guest = host.guest(port, by_hand=False)
    told = guest.lease()
    assert (told["ip"], told["mask"], told["router"], told["mtu"]) == ("10.0.1.11", "24", "10.0.1.1", "1450")
    assert told["staticroutes"] == "169.254.169.254/32 10.0.1.2 0.0.0.0/0 10.0.1.1"
    assert (told["dns"], told["domain"], told["boot_file"]) == ("10.0.1.2", "cloud.example", "boot.bin")
    asked = msgspec.json.decode(guest.fetch("http://169.254.169.254/latest/meta-data/", "-H", "X-Thing: one"), type=MetadataRequest)
    assert (asked.client, asked.network_id, asked.router_id) == ("10.0.1.11", segment.id, "")
    assert (asked.method, asked.path, asked.headers["x-thing"]) == ("GET", "/latest/meta-data/", "one")
    posted = msgspec.json.decode(guest.fetch("http://169.254.169.254/password", "-d", "secret"), type=MetadataRequest)
    assert (posted.method, posted.body) == ("POST", b"secret")
    # a lease that comes later is served without a new start; one that ends frees its address for another
    server = host.fabric._dhcp._server(segment.id)
    pid = server.pid()
    assert not host.guest(unknown, by_hand=False).lease(tries=2)
    host.fabric.ensure_dhcp(msgspec.structs.replace(dhcp, leases=[web, a_lease(other)]))
    assert server.pid() == pid
    second = host.guest(other, by_hand=False)
    told = second.lease()
    assert (told["ip"], told["hostname"]) == ("10.0.1.12", "host-10-0-1-12")
    taker = msgspec.structs.replace(a_port(segment, "10.0.1.12", rules=OPEN))
    host.fabric.ensure_dhcp(msgspec.structs.replace(dhcp, leases=[web, a_lease(taker)]))
    assert host.guest(taker, by_hand=False).lease()["ip"] == "10.0.1.12"
    assert _resolve(guest.name, "10.0.1.2", "web.cloud.example") == "10.0.1.11"


def _resolve(namespace: str, server: str, name: str) -> str:
    """The address that a DNS server gives for a name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with links.inside(namespace):
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.settimeout(3)
        asking.sendto(struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1", (server, 53))
        return socket.inet_ntoa(asking.recv(512)[-4:])


def test_hostile_metadata_requests_are_answered_and_bounded(host: Host) -> None:
    segment = a_segment()
    host.fabric.ensure_dhcp(a_dhcp(segment))
    for sent, status in (
        (b"nonsense\r\n\r\n", 400),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: 1\r\na: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nBad Name: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000, 431),
        (b"GET / HTTP/1.1\r\n\r\n", 200),
    ):
        with connect(host.fabric.reach(segment.id), "169.254.169.254", 80) as connection:
            connection.sendall(sent)
            assert connection.recv(100).split()[1] == str(status).encode(), sent[:60]


@pytest.mark.parametrize("by_router", [False, True])
def test_ipv6_guests_make_their_own_addresses(host: Host, by_router: bool) -> None:
    segment = a_segment()
    port = a_port(segment, rules=OPEN)
    octets = bytearray.fromhex(port.mac.replace(":", ""))
    tail = f"{octets[0] ^ 2:02x}{octets[1]:02x}:{octets[2]:02x}ff:fe{octets[3]:02x}:{octets[4]:02x}{octets[5]:02x}"
    expected = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, f"2001:db8:0:1:{tail}"))
    port = msgspec.structs.replace(port, fixed_ips=[*port.fixed_ips, FixedIp(address=expected, prefix=64)])
    if by_router:
        leg = msgspec.structs.replace(
            a_leg(segment, "10.0.1.1", "fa:16:3e:ee:00:01"), addresses=[FixedIp(address="2001:db8:0:1::1", prefix=64)], advertise="slaac"
        )
        host.fabric.ensure_router(Router(id=new_id(), legs=[leg]))
    else:
        subnet = DhcpSubnet(id=new_id(), cidr="2001:db8:0:1::/64", mode="slaac", advertise=True)
        own = [FixedIp(address="2001:db8:0:1::1", prefix=64)]
        host.fabric.ensure_dhcp(msgspec.structs.replace(a_dhcp(segment, port), subnets=[subnet], addresses=own))
    guest = host.guest(port, by_hand=False)
    until(lambda: f"{expected}/64" in links.addresses(links.addressed(guest.name)["eth0"]), "an address by router advertisement", 15)
    assert guest.reaches("2001:db8:0:1::1")
    assert ("default via fe80::" in guest.run("ip", "-6", "route").stdout) == by_router


def test_a_dhcpv6_lease(host: Host) -> None:
    segment = a_segment()
    port = msgspec.structs.replace(a_port(segment, rules=OPEN), fixed_ips=[FixedIp(address="2001:db8:0:1::77", prefix=64)])
    subnet = DhcpSubnet(id=new_id(), cidr="2001:db8:0:1::/64", mode="dhcpv6-stateful", advertise=True)
    own = [FixedIp(address="2001:db8:0:1::1", prefix=64)]
    host.fabric.ensure_dhcp(msgspec.structs.replace(a_dhcp(segment, port), subnets=[subnet], addresses=own))
    guest = host.guest(port, by_hand=False)
    mac = bytes.fromhex(port.mac.replace(":", ""))
    who, what = b"\0\3\0\1" + mac, struct.pack(">3I", 1, 0, 0)
    options = ((1, who), (3, what), (8, b"\0\0"))
    solicit = b"\x01abc" + b"".join(struct.pack(">2H", code, len(data)) + data for code, data in options)
    with links.inside(guest.name):
        asking = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with asking:
        asking.bind(("::", 546))
        asking.settimeout(1)
        card = links.devices(guest.name, "eth0")["eth0"]["ifindex"]
        wanted = socket.inet_pton(socket.AF_INET6, "2001:db8:0:1::77")
        offers = []

        def offered() -> bool:
            with contextlib.suppress(OSError):
                asking.sendto(solicit, ("ff02::1:2", 547, 0, card))
                offers.append(asking.recv(1000))
            return any(offer[0] == 2 and wanted in offer for offer in offers)

        until(offered, "an offer of the port's own IPv6 address", 15)
