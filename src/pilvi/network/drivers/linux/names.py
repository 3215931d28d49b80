"""Names on a host: what ids of the cloud are called as devices, namespaces and rule chains.

The kernel gives a device name 15 characters, so names carry twelve digits of the id; the whole id stands in the
device's alias, from which `observe` reads it.  Nothing reaches a command or a ruleset without passing through here
or through `ipaddress`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re

from pilvi.kernel.errors import HostError

_ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def identity(value: str) -> str:
    """The id, if it is one."""
    if not _ID.fullmatch(value.lower()):
        raise HostError(f"{value!r} is not an id.", elsewhere=False)
    return value


def short(value: str) -> str:
    """Twelve digits of an id, for names."""
    return identity(value).replace("-", "")[:12].lower()


def device(name: str) -> str:
    """The name, if a device may be called so."""
    if not _DEVICE.fullmatch(name):
        raise HostError(f"{name!r} cannot be the name of a network device.", elsewhere=False)
    return name


def namespace(name: str) -> str:
    """The name, if a network namespace may be called so."""
    if not _NAMESPACE.fullmatch(name):
        raise HostError(f"{name!r} cannot be the name of a network namespace.", elsewhere=False)
    return name


def mac(value: str) -> str:
    """A hardware address in small letters."""
    if not _MAC.fullmatch(value.lower()):
        raise HostError(f"{value!r} is not a MAC address.", elsewhere=False)
    return value.lower()


def address(value: str) -> Address:
    """An IP address."""
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        raise HostError(f"{value!r} is not an IP address.", elsewhere=False) from None


def cidr(value: str) -> Network:
    """A range of addresses; a single address is a range of one."""
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise HostError(f"{value!r} is not a range of IP addresses.", elsewhere=False) from None


def host_label(value: str, fallback: str) -> str:
    """A host name that DNS allows, else the fallback."""
    return value if _LABEL.fullmatch(value) else fallback


def domain(value: str) -> str:
    """A domain name without the last dot, or nothing when it is not one."""
    name = value.strip().rstrip(".")
    return name if all(_LABEL.fullmatch(label) for label in name.split(".")) else ""


def link_local(hardware: str) -> str:
    """The IPv6 link-local address that a guest makes of its MAC."""
    octets = bytearray.fromhex(mac(hardware).replace(":", ""))
    octets[0] ^= 2
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])))


def bridge(network_id: str) -> str:
    """The bridge of a network that is not flat."""
    return "br-" + short(network_id)


def physical_bridge(physical_network: str) -> str:
    """The bridge of a physical network, which a flat network shares."""
    return "bp-" + hashlib.sha256(physical_network.encode()).hexdigest()[:12]


def tunnel(network_id: str) -> str:
    """The VXLAN device of a network."""
    return "vx-" + short(network_id)


def vlan(network_id: str) -> str:
    """The VLAN device of a network."""
    return "vl-" + short(network_id)


def default_tap(port_id: str) -> str:
    """The tap's customary name, for finding one that was made but not yet labelled."""
    return "tap" + port_id[:11]


def outside_leg(netns: str, physical_network: str) -> str:
    """The machine's own leg into a physical network; distinct for each cloud, since it lies outside them."""
    return "po-" + hashlib.sha256(f"{netns}/{physical_network}".encode()).hexdigest()[:12]


def dhcp_namespace(netns: str, network_id: str) -> str:
    """The namespace in which a network's DHCP is served."""
    return f"{netns}-d-{identity(network_id)}"


def router_namespace(netns: str, router_id: str) -> str:
    """The namespace that is a router."""
    return f"{netns}-r-{identity(router_id)}"


def subject_of(netns: str, name: str) -> tuple[str, str] | None:
    """What a namespace is for: ("d", network id) or ("r", router id); None when it is none of this cloud's."""
    prefix, rest = name[: len(netns)], name[len(netns) :]
    if prefix != netns or rest[:3] not in ("-d-", "-r-") or not _ID.fullmatch(rest[3:].lower()):
        return None
    return rest[1], rest[3:]
