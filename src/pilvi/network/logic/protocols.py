"""The protocols that security group rules may name."""

from __future__ import annotations

from pilvi.network.security_errors import SecurityGroupRuleInvalidProtocol

NUMBERS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2, "ip": 0, "ipip": 4, "ipv6-encap": 41,
    "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113,
    "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip
ONLY_IPV6 = frozenset({"ipv6-icmp", "icmpv6", "58", "ipv6-encap", "41", "ipv6-frag", "44", "ipv6-nonxt", "59", "ipv6-opts", "60", "ipv6-route", "43"})
PORTED = frozenset({"tcp", "udp", "sctp", "dccp", "udplite", "6", "17", "132", "33", "136"})


def known_protocol(text: str | None) -> str | None:
    """The protocol as it is kept: a name in small letters, or a number as text; None is any.  Raises for what is none."""
    if text is None or text == "":
        return None
    word = text.lower()
    if word == "any":
        return None
    if word in NUMBERS:
        return word
    if word.isascii() and word.isdecimal() and int(word) <= 255:
        return str(int(word))
    raise SecurityGroupRuleInvalidProtocol(
        f"Security group rule protocol {text[:50]} not supported. Only protocol values [None, {', '.join(sorted(NUMBERS))}] and integer "
        "representations [0 to 255] are supported.", field="protocol",
    )  # fmt: skip


def is_icmp(protocol: str | None) -> bool:
    """Whether ports mean type and code."""
    return protocol in ("icmp", "icmpv6", "ipv6-icmp", "1", "58")


def same_protocol(one: str | None, other: str | None, ethertype: str) -> bool:
    """Whether two names mean the same protocol; icmp on IPv6 is icmpv6."""

    def number(text: str | None) -> int:
        if text is None:
            return -1
        found = NUMBERS[text] if text in NUMBERS else int(text)
        return 58 if found == 1 and ethertype == "IPv6" else found

    return number(one) == number(other)
