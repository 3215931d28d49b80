"""The words of the packet filter: what a port may send and receive, as nft rules.

Everything here is text made of checked parts; `firewall.py` brings it to the kernel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from pilvi.kernel.errors import HostError
from pilvi.network.drivers import Port, Rule
from pilvi.network.drivers.linux import names

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "ipv6-encap": 41, "ipv6-route": 43,
    "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "ipv6-icmp": 58, "ipv6-nonxt": 59,
    "ipv6-opts": 60, "ospf": 89, "vrrp": 112, "pgm": 113, "sctp": 132, "udplite": 136,
}  # fmt: skip
_PORTED = {6, 17, 33, 132, 136}
_ICMP, _ICMP6 = 1, 58
# router and neighbour discovery and multicast listening: without them IPv6 does not work at all
_DISCOVERY_OUT = "icmpv6 type { 130, 131, 132, 133, 135, 136, 143 } accept"
_DISCOVERY_IN = "icmpv6 type { 130, 131, 132, 134, 135, 136, 143 } accept"
# said again where fragments have been put together: no guest serves DHCP or poses as a router
_SERVERS = ("udp sport 67 udp dport 68 drop", "udp sport 547 udp dport 546 drop", "icmpv6 type { 134, 137 } drop")

# a connection that the rules no longer allow carries this mark until it dies
CUT = 1


def protocol_number(rule: Rule) -> int | None:
    """The IP protocol of a rule; None for any."""
    if rule.protocol in ("", "any"):
        return None
    told = rule.protocol.lower()
    number = int(told) if told.isascii() and told.isdecimal() else PROTOCOLS.get(told, -1)
    if not 0 <= number <= 255:
        raise HostError(f"{rule.protocol!r} is not an IP protocol.", elsewhere=False)
    return _ICMP6 if number == _ICMP and rule.ether == "IPv6" else number


def ranges(values: Iterable[str], version: int) -> list[names.Network]:
    """The ranges of one IP version, without overlaps."""
    found = [network for network in map(names.cidr, values) if network.version == version]
    return list(ipaddress.collapse_addresses(found))  # type: ignore[type-var]


def pairs_of(port: Port) -> list[tuple[str, names.Network]]:
    """All that a port may send as: MAC and addresses."""
    hardware = names.mac(port.mac)
    own = [(hardware, names.cidr(fixed.address)) for fixed in port.fixed_ips]
    own += [(names.mac(mac) if mac else hardware, names.cidr(range_)) for range_, mac in port.allowed_pairs]
    own += [(mac, names.cidr(names.link_local(mac))) for mac in {mac for mac, _ in own} | {hardware}]
    return own


def guard(port: Port, mark: int) -> dict[str, list[str]]:
    """Chains of the bridge table by name, for what enters by this port: no borrowed addresses, no DHCP, no routers.

    What passes is marked with the port's number, by which the later hooks know the sender.
    """
    name, pairs = names.short(port.id), pairs_of(port)
    macs = sorted({mac for mac, _ in pairs})
    four, six = _senders(pairs, 4), _senders(pairs, 6)
    passed = f"meta mark set {mark} return"
    checks = [f"ether saddr != {{ {', '.join(macs)} }} drop"]
    if four:
        anyone = {mac for mac, net in pairs if net.version == 4 and int(net.network_address) == 0}
        probes = [f"{mac} . 0.0.0.0" for mac in macs if mac not in anyone]
        checks += [
            f"ether type arp arp saddr ether . arp saddr ip {{ {', '.join(four + probes)} }} {passed}",
            f"ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 {passed}",
            "ether type ip udp sport 67 udp dport 68 drop",
            f"ether type ip ether saddr . ip saddr {{ {', '.join(four)} }} {passed}",
        ]
    else:
        # a port that has no address yet may still ask for one
        checks.append(f"ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 {passed}")
    checks += [
        "ether type ip6 icmpv6 type { 134, 137 } drop",
        "ether type ip6 udp sport 547 udp dport 546 drop",
        f"ether type ip6 icmpv6 type 136 jump claims_{name}",
        f"ether type ip6 ip6 saddr :: icmpv6 type {{ 131, 132, 133, 135, 143 }} {passed}",
        f"ether type ip6 ether saddr . ip6 saddr {{ {', '.join(six)} }} {passed}",
        "drop",
    ]
    # a neighbour advertisement claims an address; its first bits are compared with what the port may claim
    claims = [
        f"@th,64,{net.prefixlen} {int(net.network_address) >> (128 - net.prefixlen):#x} return" if net.prefixlen else "return"
        for net in ranges((str(net) for _, net in pairs), 6)
    ]
    return {f"guard_{name}": checks, f"claims_{name}": [*claims, "drop"]}


def _senders(pairs: list[tuple[str, names.Network]], version: int) -> list[str]:
    found = []
    for mac in sorted({mac for mac, _ in pairs}):
        nets = ranges((str(net) for hardware, net in pairs if hardware == mac), version)
        found += [f"{mac} . {net.network_address if net.prefixlen == net.max_prefixlen else net}" for net in nets]
    return found


def verdicts(port: Port) -> dict[str, list[str]]:
    """Chains of the inet table by name: what the port may send (`out_`) and receive (`in_`)."""
    name = names.short(port.id)
    known = [f"ct mark {CUT} drop", "ct state established,related accept", "ct state invalid drop"] if port.stateful else []
    outward = [*_SERVERS, *known, "udp sport 68 udp dport 67 accept", "udp sport 546 udp dport 547 accept", _DISCOVERY_OUT]
    inward = [*known, "udp sport 67 udp dport 68 accept", "udp sport 547 udp dport 546 accept", _DISCOVERY_IN]
    for rule in port.rules:
        if text := _allow(rule):
            chain = outward if rule.direction == "egress" else inward
            if text not in chain:
                chain.append(text)
    return {f"out_{name}": [*outward, "drop"], f"in_{name}": [*inward, "drop"]}


def _allow(rule: Rule) -> str:
    """One rule; nothing when it allows nobody."""
    version, family = (4, "ip") if rule.ether == "IPv4" else (6, "ip6")
    parts = [f"meta nfproto ipv{version}"]
    if rule.remote is not None:
        remote = ranges(rule.remote, version)
        if not remote:
            return ""
        if not any(net.prefixlen == 0 for net in remote):
            far = "saddr" if rule.direction == "ingress" else "daddr"
            parts.append(f"{family} {far} {{ {', '.join(map(str, remote))} }}")
    number, low, high = protocol_number(rule), rule.port_min, rule.port_max
    if number in (_ICMP, _ICMP6):
        word = "icmp" if number == _ICMP else "icmpv6"
        parts.append(f"meta l4proto {number}")
        parts += [f"{word} {what} {int(value)}" for what, value in (("type", low), ("code", high)) if value is not None]
    elif number is not None:
        parts.append(f"meta l4proto {number}")
        if number in _PORTED and (low is not None or high is not None):
            low, high = int(low if low is not None else 1), int(high if high is not None else 65535)
            parts.append(f"th dport {low}" if low == high else f"th dport {low}-{high}")
    return " ".join([*parts, "accept"])
