"""Arithmetic of addresses: ranges, pools, which address comes next, which one a MAC makes."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from pilvi.network.errors import (
    GatewayConflictWithAllocationPools,
    InvalidAllocationPool,
    InvalidInput,
    OutOfBoundsAllocationPool,
    OverlappingAllocationPools,
)  # fmt: skip
from pilvi.network.tables import Pool

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Range = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=4096)
def cidr_range(text: str) -> Range:
    """The range that a valid CIDR names."""
    return ipaddress.ip_network(text)


def parse_cidr(text: str, field: str) -> Range:
    """The range of a CIDR that a client sent; host bits are cut off.  Raises InvalidInput naming `field`."""
    try:
        if "/" not in text:
            raise ValueError
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidInput(f"Invalid input for {field}. Reason: '{text[:100]}' is not a valid IP subnet.", field=field) from None


def parse_address(text: str, field: str) -> Address:
    """An address that a client sent.  Raises InvalidInput naming `field`."""
    try:
        if "%" in text:
            raise ValueError
        return ipaddress.ip_address(text)
    except ValueError:
        raise InvalidInput(f"Invalid input for {field}. Reason: '{text[:100]}' is not a valid IP address.", field=field) from None


def address(number: int, version: int) -> Address:
    """The address of that number."""
    return ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number)


def usable(net: Range) -> tuple[int, int]:
    """First and last number that a port may have: IPv4 keeps the network's own and the broadcast address."""
    first, last = int(net.network_address), int(net.broadcast_address)
    if net.version == 4 and net.prefixlen < 31:
        return first + 1, last - 1
    if net.version == 6 and net.prefixlen < 127:
        return first + 1, last
    return first, last


def default_gateway(net: Range) -> str:
    """The first usable address."""
    return str(address(usable(net)[0], net.version))


def default_pools(net: Range, gateway: str | None) -> list[Pool]:
    """All usable addresses but the gateway's."""
    first, last = usable(net)
    spans = [(first, last)]
    if gateway is not None:
        number = int(ipaddress.ip_address(gateway))
        if first <= number <= last:
            spans = [(first, number - 1), (number + 1, last)]
    return [Pool(str(address(low, net.version)), str(address(high, net.version))) for low, high in spans if low <= high]


def check_pools(pools: Sequence[Pool], net: Range) -> list[Pool]:
    """The pools in order, if they lie in the subnet and apart from each other; raises the API's errors."""
    spans: list[tuple[int, int]] = []
    first, last = usable(net)
    for pool in pools:
        start, end = parse_address(pool.start, "allocation_pools"), parse_address(pool.end, "allocation_pools")
        if start.version != net.version or end.version != net.version:
            raise InvalidAllocationPool(f"The allocation pool {pool.start}-{pool.end} is not valid.", field="allocation_pools")
        if int(end) < int(start):
            raise InvalidAllocationPool(f"The allocation pool {pool.start}-{pool.end} is not valid.", field="allocation_pools")
        if int(start) < first or int(end) > last:
            raise OutOfBoundsAllocationPool(
                f"The allocation pool {pool.start}-{pool.end} spans beyond the subnet cidr {net}.", field="allocation_pools"
            )
        spans.append((int(start), int(end)))
    spans.sort()
    for (_, end), (start, _) in pairwise(spans):
        if start <= end:
            raise OverlappingAllocationPools(f"Found overlapping allocation pools in the subnet {net}.")
    return [Pool(str(address(low, net.version)), str(address(high, net.version))) for low, high in spans]


def check_gateway_outside(gateway: str | None, pools: Sequence[Pool]) -> None:
    """Raise when a pool would give the gateway's address away."""
    if gateway is None:
        return
    number = int(ipaddress.ip_address(gateway))
    for pool in pools:
        if int(ipaddress.ip_address(pool.start)) <= number <= int(ipaddress.ip_address(pool.end)):
            raise GatewayConflictWithAllocationPools(
                f"Gateway ip {gateway} conflicts with allocation pool {pool.start}-{pool.end}."
            )


def spans(pools: Sequence[Pool]) -> list[tuple[int, int]]:
    """The pools as numbers."""
    return [(int(ipaddress.ip_address(pool.start)), int(ipaddress.ip_address(pool.end))) for pool in pools]


def size(pools: Sequence[Pool]) -> int:
    """How many addresses the pools hold."""
    return sum(high - low + 1 for low, high in spans(pools))


def from_cursor(pools: Sequence[Pool], cursor: int, version: int) -> Iterator[str]:
    """All addresses of the pools, beginning at the cursor and around."""
    numbers = spans(pools)
    for low, high in numbers:
        for number in range(max(low, cursor), high + 1):
            yield str(address(number, version))
    for low, high in numbers:
        for number in range(low, min(high, cursor - 1) + 1):
            yield str(address(number, version))


def eui64(cidr: str, mac: str) -> str:
    """The address that a port with this MAC makes for itself in the range."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    suffix = int.from_bytes(octets[:3] + b"\xff\xfe" + octets[3:], "big")
    return str(ipaddress.IPv6Address(int(cidr_range(cidr).network_address) + suffix))


def new_mac() -> str:
    """A MAC address with OpenStack's prefix."""
    tail = secrets.token_bytes(3)
    return f"fa:16:3e:{tail[0]:02x}:{tail[1]:02x}:{tail[2]:02x}"


def normalized(text: str) -> str:
    """An address or range in its one usual form."""
    return str(ipaddress.ip_network(text, strict=False)) if "/" in text else str(ipaddress.ip_address(text))
