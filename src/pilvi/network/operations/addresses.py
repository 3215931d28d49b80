"""Addresses of ports: which subnets give them, which one is next, and the row that keeps each from being given twice."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict
from pilvi.network.errors import (
    InvalidInput,
    InvalidIpForNetwork,
    InvalidIpForSubnet,
    IpAddressAlreadyAllocated,
    IpAddressGenerationFailure,
    SubnetNotFound,
)  # fmt: skip
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.logic.words import FLOATING_IP, ROUTER_INTERFACE, ROUTER_OWNERS
from pilvi.network.tables import Allocation, FixedIp, Port, Subnet

_FIRST_LOOK, _SECOND_LOOK = 8, 256  # candidates asked of the database at once before all that is taken is read


def subnets_of(tx: Transaction, network_id: str) -> list[Subnet]:
    """A network's subnets, the oldest first."""
    return tx.all(Subnet, Subnet.c.network_id == network_id, order=[Subnet.c.created_at, Subnet.c.id])


def for_port(ctx: Context, port: Port, wanted: Sequence[dict[str, Any]] | None, *, kept: Sequence[FixedIp] = ()) -> list[FixedIp]:
    """Give the port addresses: those wanted, or (None) one of each IP version; and those that it makes itself.

    `kept` are addresses that it has already and that stay.
    """
    subnets = subnets_of(ctx.db, port.network_id)
    given = list(kept)
    if wanted is None:
        given += _usual(ctx, port, subnets)
    else:
        settings = ctx.program.settings.network
        if len(wanted) > settings.max_fixed_ips_per_port:
            raise InvalidInput("Invalid input for operation: Exceeded maximum amount of fixed ips per port.", field="fixed_ips")
        for one in wanted:
            given.append(_one(ctx, port, subnets, one, given))
    if port.device_owner not in (*ROUTER_OWNERS, FLOATING_IP) and not (wanted is not None and not wanted and not kept):
        held = {one.subnet_id for one in given}
        given += [
            _take(ctx, port, subnet, arithmetic.eui64(subnet.cidr, port.mac_address))
            for subnet in subnets
            if subnet.automatic and subnet.id not in held and serves(subnet, port.device_owner)
        ]
    return given


def serves(subnet: Subnet, device_owner: str) -> bool:
    """Whether the subnet is for ports of such a device: of no special service, or of this one."""
    return not subnet.service_types or any(device_owner.startswith(prefix) for prefix in subnet.service_types)


def _usual(ctx: Context, port: Port, subnets: Sequence[Subnet]) -> list[FixedIp]:
    """One address of each IP version, from the first subnet that has one free."""
    found: list[FixedIp] = []
    for version in (4, 6):
        fit = [one for one in subnets if one.ip_version == version and serves(one, port.device_owner)]
        special = [one for one in fit if one.service_types]
        fit = special or fit
        if port.device_owner not in ROUTER_OWNERS:
            fit = [one for one in fit if not one.automatic]
        if not fit:
            continue
        for subnet in fit:
            taken = _take_any(ctx, port, subnet)
            if taken is not None:
                found.append(taken)
                break
        else:
            raise IpAddressGenerationFailure(f"No more IP addresses available on network {port.network_id}.")
    return found


def _one(ctx: Context, port: Port, subnets: Sequence[Subnet], one: dict[str, Any], given: Sequence[FixedIp]) -> FixedIp:
    """The address that a client wants, from a subnet, at an address, or both."""
    subnet_id, text = one.get("subnet_id"), one.get("ip_address")
    subnet = None
    if subnet_id:
        subnet = next((row for row in subnets if row.id == subnet_id), None)
        if subnet is None:
            if ctx.db.get(Subnet, subnet_id) is None:
                raise SubnetNotFound(subnet_id)
            raise InvalidInput(
                f"Invalid input for operation: Failed to create port on network {port.network_id}, because fixed_ips included invalid "
                f"subnet {subnet_id}.", field="fixed_ips",
            )  # fmt: skip
    if text:
        address = arithmetic.parse_address(text, "fixed_ips.ip_address")
        if subnet is None:
            subnet = next((row for row in subnets if address in arithmetic.cidr_range(row.cidr)), None)
            if subnet is None:
                raise InvalidIpForNetwork(f"IP address {address} is not a valid IP for any of the subnets on the specified network.")
        return explicit(ctx, port, subnet, str(address))
    if subnet is None:
        raise InvalidInput("Invalid input for operation: IP allocation requires subnet_id or ip_address.", field="fixed_ips")
    if subnet.automatic and port.device_owner not in ROUTER_OWNERS:
        return _take(ctx, port, subnet, arithmetic.eui64(subnet.cidr, port.mac_address))
    taken = _take_any(ctx, port, subnet)
    if taken is None:
        raise IpAddressGenerationFailure(f"No more IP addresses available for subnet {subnet.id}.")
    return taken


def explicit(ctx: Context, port: Port, subnet: Subnet, address: str) -> FixedIp:
    """Exactly this address.  Raises InvalidIpForSubnet, IpAddressAlreadyAllocated."""
    net = arithmetic.cidr_range(subnet.cidr)
    number = int(ipaddress.ip_address(address))
    low, high = arithmetic.usable(net)
    if net.version == 6:
        low = int(net.network_address)
    if ipaddress.ip_address(address) not in net or not low <= number <= high:
        raise InvalidIpForSubnet(f"IP address {address} is not a valid IP for the specified subnet.", field="fixed_ips")
    if subnet.automatic and port.device_owner not in (*ROUTER_OWNERS, FLOATING_IP) and address != arithmetic.eui64(subnet.cidr, port.mac_address):
        raise InvalidInput(
            f"Invalid input for operation: IPv6 address {address} can not be directly assigned to a port on subnet {subnet.id} since the "
            "subnet is configured for automatic addresses.", field="fixed_ips",
        )  # fmt: skip
    if ctx.db.get(Allocation, subnet.id, address) is not None:
        raise IpAddressAlreadyAllocated(f"IP address {address} already allocated in subnet {subnet.id}")
    return _take(ctx, port, subnet, address)


def next_free(ctx: Context, subnet: Subnet, *, peek: bool = False) -> str | None:
    """An address of the subnet's pools that is free, going on from the last one given; None when there is none."""
    if not subnet.allocation_pools:
        return None
    cursors: dict[str, int] = ctx.program.parts.setdefault("network.cursors", {})
    candidates = arithmetic.from_cursor(subnet.allocation_pools, cursors.get(subnet.id, 0), subnet.ip_version)
    for look in (_FIRST_LOOK, _SECOND_LOOK):
        some = list(islice(candidates, look))
        if not some:
            return None
        taken = ctx.db.rows(sa.select(Allocation.c.address).where(Allocation.c.subnet_id == subnet.id, Allocation.c.address.in_(some)))
        busy = {row[0] for row in taken}
        free = next((address for address in some if address not in busy), None)
        if free is not None:
            break
    else:
        busy = {row[0] for row in ctx.db.rows(sa.select(Allocation.c.address).where(Allocation.c.subnet_id == subnet.id))}
        free = next((address for address in candidates if address not in busy), None)
    if free is not None and not peek:
        cursors[subnet.id] = int(ipaddress.ip_address(free)) + 1
    return free


def _take_any(ctx: Context, port: Port, subnet: Subnet) -> FixedIp | None:
    """Take a free address; None when there is none.  Those that another request takes in the same moment are passed over."""
    while True:
        address = next_free(ctx, subnet)
        if address is None:
            return None
        try:
            return _take(ctx, port, subnet, address)
        except IpAddressAlreadyAllocated:
            continue


def _take(ctx: Context, port: Port, subnet: Subnet, address: str) -> FixedIp:
    """Write the allocation down; when another request was first, IpAddressAlreadyAllocated."""
    if not ctx.db.hold(Subnet, subnet.id):
        raise SubnetNotFound(subnet.id)
    try:
        if ctx.db.database.embedded:
            ctx.db.insert(Allocation(subnet_id=subnet.id, address=address, network_id=port.network_id, port_id=port.id))
        else:
            with ctx.db.attempt():
                ctx.db.insert(Allocation(subnet_id=subnet.id, address=address, network_id=port.network_id, port_id=port.id))
    except Conflict:
        raise IpAddressAlreadyAllocated(f"IP address {address} already allocated in subnet {subnet.id}") from None
    return FixedIp(subnet.id, address)


def release(tx: Transaction, port_id: str, gone: Sequence[FixedIp]) -> None:
    """Give addresses of a port back."""
    for one in gone:
        tx.delete(Allocation, Allocation.c.subnet_id == one.subnet_id, Allocation.c.address == one.ip_address, Allocation.c.port_id == port_id)


def replace(ctx: Context, port: Port, wanted: Sequence[dict[str, Any]]) -> list[FixedIp]:
    """Change a port's addresses to those wanted; what is wanted and there already stays as it is."""
    remaining = list(port.fixed_ips)
    kept: list[FixedIp] = []
    new: list[dict[str, Any]] = []
    for one in wanted:
        match = next((have for have in remaining if _fits(have, one)), None) if one.get("ip_address") else None
        if match is not None:
            remaining.remove(match)
            kept.append(match)
        else:
            new.append(one)
    for one in [each for each in new if not each.get("ip_address")]:
        match = next((have for have in remaining if _fits(have, one)), None)
        if match is not None:
            remaining.remove(match)
            new.remove(one)
            kept.append(match)
    automatic = {row.id for row in ctx.db.by(Subnet, Subnet.c.id, [have.subnet_id for have in remaining]) if row.automatic}
    if port.device_owner != ROUTER_INTERFACE:
        for have in [each for each in remaining if each.subnet_id in automatic and wanted]:
            remaining.remove(have)
            kept.append(have)
    release(ctx.db, port.id, remaining)
    return for_port(ctx, port, new, kept=kept)


def _fits(have: FixedIp, one: dict[str, Any]) -> bool:
    if one.get("subnet_id") and one["subnet_id"] != have.subnet_id:
        return False
    text = one.get("ip_address")
    return not text or str(arithmetic.parse_address(text, "fixed_ips.ip_address")) == have.ip_address
