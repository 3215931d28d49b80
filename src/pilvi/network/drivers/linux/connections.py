"""Connections that the kernel tracks: which of a port's are allowed no more, and their end."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from dataclasses import dataclass

from pilvi.kernel.errors import HostError
from pilvi.network.drivers import Port, Rule
from pilvi.network.drivers.linux import links, names, rules

_PAIR = re.compile(r"(\w+)=(\S+)")
_TCP = rules.PROTOCOLS["tcp"]
# netlink: "change this entry of conntrack", and the names of its parts
_NETFILTER, _CHANGE, _REQUEST_AND_ACK, _NESTED = 12, 0x0100, 0x05, 0x8000
_TUPLE, _TUPLE_IP, _TUPLE_PROTO, _MARK, _ZONE = 1, 1, 2, 8, 18
_PROTO_NUMBER, _PROTO_SOURCE, _PROTO_TARGET = 1, 2, 3


@dataclass(frozen=True)
class Connection:
    """One line of conntrack's list, seen from its first packet."""

    protocol: int
    source: str
    target: str
    sport: int | None
    dport: int | None
    icmp: tuple[int, int] | None  # type and code
    mark: int


def judge(netns: str, port: Port) -> None:
    """End the connections of the port that its rules would not let begin now; those allowed again live again.

    A TCP connection is marked for the packet filter rather than deleted, because a packet of its other direction
    would begin it anew; it may not be taken for new either, or no connection would survive a live migration.
    """
    if not port.stateful:
        return
    zone = int(port.zone)
    for fixed in port.fixed_ips:
        own = str(names.address(fixed.address))
        version = names.address(own).version
        for connection in _tracked(netns, version, zone):
            if own not in (connection.source, connection.target):
                continue
            allowed = any(_allows(rule, connection, own) for rule in port.rules)
            if allowed and connection.mark != rules.CUT:
                continue
            if connection.protocol == _TCP and not allowed:
                _mark(netns, connection, zone, rules.CUT)
            else:
                end(netns, _which(connection, version, zone))


def end(namespace: str, which: list[str]) -> None:
    """Delete the connections that these words of `conntrack` pick; there may be none."""
    links.run(["conntrack", "-D", *which], namespace=namespace, check=False)


def _tracked(netns: str, version: int, zone: int) -> list[Connection]:
    listed = links.run(["conntrack", "-L", "-f", f"ipv{version}", "-w", str(zone)], namespace=netns)
    return [found for line in listed.splitlines() if (found := _read(line))]


def _read(line: str) -> Connection | None:
    words = line.split()
    if len(words) < 4 or not words[1].isdecimal():
        return None
    told: dict[str, str] = {}
    for key, value in _PAIR.findall(line):
        told.setdefault(key, value)  # each name comes twice: for the first direction, and for answers
    return Connection(
        protocol=int(words[1]),
        source=told["src"],
        target=told["dst"],
        sport=int(told["sport"]) if "sport" in told else None,
        dport=int(told["dport"]) if "dport" in told else None,
        icmp=(int(told["type"]), int(told["code"])) if "type" in told and "code" in told else None,
        mark=int(told.get("mark", "0")),
    )


def _allows(rule: Rule, connection: Connection, own: str) -> bool:
    """Whether a rule of the port lets the connection begin."""
    sent = connection.source == own
    far = ipaddress.ip_address(connection.target if sent else connection.source)
    number = rules.protocol_number(rule)
    if rule.direction != ("egress" if sent else "ingress") or rule.ether != f"IPv{far.version}":
        return False
    if number not in (None, connection.protocol):
        return False
    if rule.remote is not None and not any(far in net for net in rules.ranges(rule.remote, far.version)):
        return False
    if connection.icmp is not None and number is not None:
        return rule.port_min in (None, connection.icmp[0]) and rule.port_max in (None, connection.icmp[1])
    if connection.dport is not None and number is not None:
        return (rule.port_min or 0) <= connection.dport <= (65535 if rule.port_max is None else rule.port_max)
    return True


def _which(connection: Connection, version: int, zone: int) -> list[str]:
    words = ["-f", f"ipv{version}", "-w", str(zone), "-p", str(connection.protocol), "-s", connection.source, "-d", connection.target]
    if connection.sport is not None and connection.dport is not None:
        words += ["--sport", str(connection.sport), "--dport", str(connection.dport)]
    if connection.icmp:
        name = "icmpv6" if version == 6 else "icmp"
        words += [f"--{name}-type", str(connection.icmp[0]), f"--{name}-code", str(connection.icmp[1])]
    return words


def _attribute(kind: int, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _mark(netns: str, connection: Connection, zone: int, mark: int) -> None:
    """Mark a TCP connection; the program `conntrack` cannot mark within a zone, so the kernel is asked directly."""
    family = socket.AF_INET6 if ":" in connection.source else socket.AF_INET
    source, target = (socket.inet_pton(family, address) for address in (connection.source, connection.target))
    ends = (1, 2) if family == socket.AF_INET else (3, 4)
    tuple_ = _attribute(
        _TUPLE | _NESTED,
        _attribute(_TUPLE_IP | _NESTED, _attribute(ends[0], source), _attribute(ends[1], target)),
        _attribute(
            _TUPLE_PROTO | _NESTED,
            _attribute(_PROTO_NUMBER, bytes([connection.protocol])),
            _attribute(_PROTO_SOURCE, struct.pack(">H", connection.sport)),
            _attribute(_PROTO_TARGET, struct.pack(">H", connection.dport)),
        ),
    )
    about = struct.pack("=BBH", family, 0, 0)
    body = about + tuple_ + _attribute(_ZONE, struct.pack(">H", zone)) + _attribute(_MARK, struct.pack(">I", mark))
    with links.inside(netns):
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
    with kernel:
        kernel.settimeout(5)
        kernel.sendto(struct.pack("=IHHII", 16 + len(body), _CHANGE, _REQUEST_AND_ACK, 1, 0) + body, (0, 0))
        code = struct.unpack_from("=i", kernel.recv(8192), 16)[0]
    if code not in (0, -2):  # -2: the connection has ended by itself
        raise HostError(f"The kernel did not let a connection be cut (error {-code}).")
