"""Security groups, anti-spoofing and overlapping addresses, proved by guests."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

import msgspec
import pytest

from pilvi.network.drivers import FixedIp, Rule
from pilvi.network.drivers.linux import links
from tests.drivers.fabric_contract import (
    EVERYTHING_OUT,
    OPEN,
    PING,
    a_port,
    a_segment,
)

from .guests import Guest, answers, connect, echo
from .hosts import Host


def test_security_groups_open_close_and_keep_connections(host: Host) -> None:
    segment = a_segment()
    inside, caller = a_port(segment), a_port(segment, "10.0.1.12", rules=OPEN)
    one, two = host.guest(inside), host.guest(caller)
    ssh = Rule(direction="ingress", ether="IPv4", protocol="tcp", port_min=22, port_max=23, remote=["10.0.1.12"])

    def allow(*rules: Rule) -> None:
        host.fabric.ensure_port(msgspec.structs.replace(inside, rules=[*EVERYTHING_OUT, *rules]))

    assert one.reaches("10.0.1.12")
    assert two.cannot_reach("10.0.1.11")
    with echo(one.name, 22, "one"), echo(one.name, 24, "one"):
        with pytest.raises(OSError):
            connect(two.name, "10.0.1.11", 22, timeout=0.5)
        allow(ssh)
        held = connect(two.name, "10.0.1.11", 22)
        assert answers(held) == "one 10.0.1.12"
        with pytest.raises(OSError):
            connect(two.name, "10.0.1.11", 24, timeout=0.5)
        allow(ssh, PING)
        assert answers(held) == "one 10.0.1.12"
        assert two.reaches("10.0.1.11")
        allow(PING)
        held.settimeout(0.7)
        assert answers(held) == ""
        assert two.reaches("10.0.1.11")
        allow(PING, msgspec.structs.replace(ssh, remote=["10.0.1.0/28"]))
        assert answers(connect(two.name, "10.0.1.11", 22)) == "one 10.0.1.12"
        allow(msgspec.structs.replace(PING, port_min=0), msgspec.structs.replace(ssh, remote=["10.0.1.13"]))
        assert two.cannot_reach("10.0.1.11")
        with pytest.raises(OSError):
            connect(two.name, "10.0.1.11", 22, timeout=0.5)
        allow(msgspec.structs.replace(PING, port_min=8, port_max=0), msgspec.structs.replace(ssh, protocol="6"))
        assert two.reaches("10.0.1.11")
        connect(two.name, "10.0.1.11", 22).close()
    # without state, answers need a rule of their own
    host.fabric.ensure_port(msgspec.structs.replace(inside, stateful=False))
    assert one.cannot_reach("10.0.1.12")
    host.fabric.ensure_port(msgspec.structs.replace(inside, stateful=False, rules=[*inside.rules, PING]))
    assert one.reaches("10.0.1.12")
    # nothing out, and a card that is switched off
    host.fabric.ensure_port(msgspec.structs.replace(inside, rules=[PING]))
    assert two.reaches("10.0.1.11")
    assert one.cannot_reach("10.0.1.12")
    host.fabric.ensure_port(msgspec.structs.replace(inside, rules=OPEN, admin_up=False))
    assert two.cannot_reach("10.0.1.11")


def test_borrowed_addresses_and_false_servers_are_refused(host: Host) -> None:
    segment = a_segment()
    liar, victim = a_port(segment, rules=OPEN), a_port(segment, "10.0.1.12", rules=OPEN)
    one, two = host.guest(liar), host.guest(victim)
    one.has("2001:db8::11", 64), two.has("2001:db8::12", 64)
    liar = msgspec.structs.replace(liar, fixed_ips=[*liar.fixed_ips, FixedIp(address="2001:db8::11", prefix=64)])
    victim = msgspec.structs.replace(victim, fixed_ips=[*victim.fixed_ips, FixedIp(address="2001:db8::12", prefix=64)])
    host.fabric.ensure_port(liar), host.fabric.ensure_port(victim)
    assert one.reaches("10.0.1.12")
    assert one.reaches("2001:db8::12")
    assert two.reaches("10.0.1.11")

    def lies() -> dict[str, bool]:
        """Which lies of the first guest come through."""
        found = {"ipv4": _hears(two, lambda: one.run("ping", "-c1", "-W0.3", "-I", "10.0.1.66", "10.0.1.12", check=False), "10.0.1.66")}
        found["ipv6"] = _hears(two, lambda: one.run("ping", "-c1", "-W0.3", "-I", "2001:db8::66", "2001:db8::12", check=False), "2001:db8::66")
        found["dhcp"] = _datagram(one, two, 67, 68)
        found["arp"] = _claims(one, two, "10.0.1.99")
        found["vlan"] = _tagged(one, two)
        return found

    links.ip(["addr add 10.0.1.66/24 dev eth0", "addr add 2001:db8::66/64 dev eth0 nodad"], namespace=one.name)
    assert not any(lies().values())
    assert _datagram(one, two, 1067, 1068)
    assert _claims(one, two, "10.0.1.11")
    host.fabric.ensure_port(msgspec.structs.replace(liar, allowed_pairs=[("10.0.1.64/26", ""), ("2001:db8::60/124", "")]))
    assert lies() == {"ipv4": True, "ipv6": True, "dhcp": False, "arp": True, "vlan": False}
    # another MAC: refused, then allowed as a pair, then refused again
    links.ip(["link set eth0 address fa:16:3e:99:99:99"], namespace=one.name)
    assert one.cannot_reach("10.0.1.12")
    host.fabric.ensure_port(msgspec.structs.replace(liar, allowed_pairs=[("10.0.1.11", "fa:16:3e:99:99:99")]))
    assert one.reaches("10.0.1.12")
    host.fabric.ensure_port(liar)
    assert one.cannot_reach("10.0.1.12")
    host.fabric.ensure_port(msgspec.structs.replace(liar, port_security=False, rules=[]))
    assert one.reaches("10.0.1.12")
    assert all(lies().values())


def _hears(guest: Guest, act: Callable[[], object], sender: str) -> bool:
    """Whether a packet with that source comes to the guest while `act` runs."""
    version = 6 if ":" in sender else 4
    kind, at = (0x86DD, 8) if version == 6 else (0x0800, 12)
    wanted = socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, sender)
    return any(frame[at : at + len(wanted)] == wanted for frame in _frames(guest, act, kind))


def _claims(one: Guest, two: Guest, address: str) -> bool:
    """Whether the second guest hears the first one's ARP claim of an address."""
    with links.inside(one.name):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        wire.bind(("eth0", 0))
    mac = bytes.fromhex(links.devices(one.name, "eth0")["eth0"]["address"].replace(":", ""))
    own = socket.inet_aton(address)
    frame = b"\xff" * 6 + mac + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02" + mac + own + b"\xff" * 6 + own
    with wire:
        return any(heard[14:18] == own for heard in _frames(two, lambda: wire.send(frame), 0x0806))


def _tagged(one: Guest, two: Guest) -> bool:
    """Whether a frame with a VLAN tag, which the inet filter would not see, comes from one guest to the other."""
    with links.inside(one.name):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        wire.bind(("eth0", 0))
    macs = [bytes.fromhex(links.devices(guest.name, "eth0")["eth0"]["address"].replace(":", "")) for guest in (two, one)]
    ends = socket.inet_aton("10.0.1.11") + socket.inet_aton("10.0.1.12")
    packet = struct.pack(">BBHHHBBH", 0x45, 0, 28, 7, 0, 64, 17, 0) + ends + struct.pack(">4H", 5, 4242, 8, 0)
    with links.inside(two.name):
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        ear.bind(("eth0", 3))
    with wire, ear:
        wire.send(b"".join(macs) + b"\x81\x00\x00\x07\x08\x00" + packet)
        ear.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                if ends in ear.recv(2000):
                    return True
    return False


def _frames(guest: Guest, act: Callable[[], object], kind: int) -> list[bytes]:
    """The packets of a kind that come to the guest while `act` runs and shortly after."""
    with links.inside(guest.name):
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind))
        ear.bind(("eth0", kind))
    heard = []
    with ear:
        act()
        ear.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                heard.append(ear.recv(2000))
    return heard


def _datagram(one: Guest, two: Guest, source: int, target: int) -> bool:
    """Whether a UDP packet with these port numbers comes from one guest to the other."""
    with links.inside(two.name):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with links.inside(one.name):
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ear, mouth:
        ear.bind(("", target))
        mouth.bind(("10.0.1.11", source))
        mouth.sendto(b"here is your address", ("10.0.1.12", target))
        ear.settimeout(0.5)
        try:
            return bool(ear.recv(100))
        except TimeoutError:
            return False


def test_networks_with_the_same_addresses_stay_apart(host: Host) -> None:
    held = []
    with contextlib.ExitStack() as stack:
        for number, name in ((1, "red"), (2, "blue")):
            segment = a_segment(4000 + number)
            ports = [a_port(segment, f"10.0.1.{last}", rules=OPEN, zone=number) for last in (11, 12)]
            client, server = [host.guest(msgspec.structs.replace(port, mac=f"fa:16:3e:00:00:{i:02}")) for i, port in enumerate(ports)]
            stack.enter_context(echo(server.name, 80, name))
            held.append(stack.enter_context(connect(client.name, "10.0.1.12", 80, source=("10.0.1.11", 40000))))
        assert [answers(connection) for connection in held * 2] == ["red 10.0.1.11", "blue 10.0.1.11"] * 2
