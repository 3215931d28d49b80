"""Where a subnet's range comes from: said by the caller, or cut from a subnet pool."""

from __future__ import annotations

import ipaddress
from typing import Any

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.network.errors import BadRequest, InvalidInput, SubnetAllocationError, SubnetPoolNotFound, SubnetPoolQuotaExceeded
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.operations import sharing
from pilvi.network.tables import Network, Subnet, SubnetPool


def range_for(ctx: Context, row: Subnet, body: Any, network: Network, project_id: str) -> arithmetic.Range:
    """The range of a new subnet; sets the row's pool and IP version when a pool gives it."""
    pool_id = body.subnetpool_id
    if (pool_id is None and body.cidr is None) or body.use_default_subnetpool:
        if body.use_default_subnetpool and pool_id:
            raise BadRequest("subnetpool_id and use_default_subnetpool cannot both be specified", field="subnetpool_id")
        if not body.use_default_subnetpool:
            raise BadRequest("Bad subnets request: a subnetpool must be specified in the absence of a cidr.", field="cidr")
        pool_id = _default_pool(ctx, row.ip_version).id
    if pool_id is None:
        assert body.cidr is not None
        net = arithmetic.parse_cidr(body.cidr, "cidr")
        if body.ip_version is None:
            raise InvalidInput("Invalid input for operation: ip_version must be specified.", field="ip_version")
        if body.prefixlen is not None:
            raise BadRequest("Bad subnets request: cidr and prefixlen must not be supplied together.", field="prefixlen")
        if net.version != row.ip_version:
            raise InvalidInput(f"Invalid input for operation: cidr '{net}' does not match the ip_version '{row.ip_version}'.", field="cidr")
        if (net.version == 4 and (net.is_multicast or net.prefixlen == 0)) or (net.version == 6 and net.is_multicast):
            raise InvalidInput(f"Invalid input for operation: the cidr {net} cannot be a subnet's.", field="cidr")
        return net
    pool = pool_for(ctx, pool_id, project_id)
    row.subnetpool_id, row.ip_version = pool.id, pool.ip_version
    if body.ip_version is not None and body.ip_version != pool.ip_version:
        raise BadRequest(
            f"Cannot create IPv{body.ip_version} subnet from IPv{pool.ip_version} subnet pool.", field="ip_version"
        )
    if body.cidr is not None and body.prefixlen is not None:
        raise BadRequest("Bad subnets request: cidr and prefixlen must not be supplied together.", field="prefixlen")
    if body.allocation_pools is not None and body.cidr is None:
        raise BadRequest("allocation_pools allowed only for specific subnet requests.", field="allocation_pools")
    if body.gateway_ip not in (None, "") and body.cidr is None:
        raise BadRequest("gateway_ip is allowed only for specific subnet requests.", field="gateway_ip")
    return _cut(ctx, pool, body.cidr, body.prefixlen, project_id)


def pool_for(ctx: Context, pool_id: str, project_id: str) -> SubnetPool:
    """The pool, if it may be used for the project.  Raises SubnetPoolNotFound."""
    pool = ctx.db.get(SubnetPool, pool_id)
    if pool is None:
        raise SubnetPoolNotFound(pool_id)
    if not (pool.project_id == project_id or sharing.sees_all(ctx) or sharing.is_shared(ctx.db, "subnetpool", pool_id, project_id)):
        raise SubnetPoolNotFound(pool_id)
    return pool


def _default_pool(ctx: Context, version: int) -> SubnetPool:
    pool = ctx.db.one(SubnetPool, SubnetPool.c.is_default == sa.true(), SubnetPool.c.ip_version == version)
    if pool is None:
        raise BadRequest(f"No default subnetpool found for IPv{version}", field="use_default_subnetpool")
    return pool


def _cut(ctx: Context, pool: SubnetPool, cidr: str | None, prefixlen: int | None, project_id: str) -> arithmetic.Range:
    """The wished range, or the first free one of the wished length."""
    ctx.db.update(SubnetPool, SubnetPool.c.id == pool.id, updated_at=SubnetPool.c.updated_at)  # others that cut from it wait
    wished = arithmetic.parse_cidr(cidr, "cidr") if cidr else None
    length = wished.prefixlen if wished else prefixlen if prefixlen is not None else pool.default_prefixlen
    if length < pool.min_prefixlen:
        raise SubnetAllocationError(f"Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {pool.min_prefixlen}.")
    if length > pool.max_prefixlen:
        raise SubnetAllocationError(f"Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {pool.max_prefixlen}.")
    subnets = ctx.db.all(Subnet, Subnet.c.subnetpool_id == pool.id)
    _check_quota(pool, [row for row in subnets if row.project_id == project_id], length)
    taken = sorted(_span(arithmetic.cidr_range(row.cidr)) for row in subnets)
    prefixes = [arithmetic.cidr_range(text) for text in pool.prefixes]
    if wished is not None:
        low, high = _span(wished)
        inside = any(_span(one)[0] <= low and high <= _span(one)[1] for one in prefixes if one.version == wished.version)
        if not inside or any(start <= high and low <= end for start, end in taken):
            raise SubnetAllocationError(f"Failed to allocate subnet: Cannot allocate requested subnet {wished} from the available set of prefixes.")
        return wished
    found = _first_gap(prefixes, taken, length, pool.ip_version)
    if found is None:
        raise SubnetAllocationError("Failed to allocate subnet: Insufficient prefix space to allocate subnet size /" + f"{length}.")
    return found


def _first_gap(prefixes: list[arithmetic.Range], taken: list[tuple[int, int]], length: int, version: int) -> arithmetic.Range | None:
    """The first range of the length that meets nothing that is taken, the smallest fitting prefix first."""
    step = 1 << ((32 if version == 4 else 128) - length)
    for prefix in sorted(prefixes, key=lambda one: (-one.prefixlen, int(one.network_address))):
        if prefix.prefixlen > length:
            continue
        low, last = _span(prefix)
        start = low
        for begin, end in taken:
            if end < start:
                continue
            if begin >= start + step:
                break
            start = low + -(-(end + 1 - low) // step) * step
        if start + step - 1 <= last:
            return ipaddress.ip_network((start, length))
    return None


def _span(net: arithmetic.Range) -> tuple[int, int]:
    return int(net.network_address), int(net.broadcast_address)


def _check_quota(pool: SubnetPool, own: list[Subnet], length: int) -> None:
    """The pool's share for one project: IPv4 counts addresses, IPv6 counts /64."""
    if pool.default_quota is None:
        return
    unit = 32 if pool.ip_version == 4 else 64

    def cost(bits: int) -> int:
        return 1 << max(unit - bits, 0)

    if sum(cost(arithmetic.cidr_range(row.cidr).prefixlen) for row in own) + cost(length) > pool.default_quota:
        raise SubnetPoolQuotaExceeded("Per-tenant subnet pool prefix quota exceeded.")
