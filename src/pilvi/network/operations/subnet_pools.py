"""Subnet pools and address scopes."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.network.errors import (
    AddressScopeInUse,
    AddressScopeNotFound,
    AddressScopePrefixConflict,
    IllegalSubnetPoolAssociationToAddressScope,
    IllegalSubnetPoolPrefixBounds,
    IllegalSubnetPoolPrefixUpdate,
    InvalidInput,
    SubnetPoolInUse,
)  # fmt: skip
from pilvi.network.logic import addresses as arithmetic
from pilvi.network.operations import records, sharing
from pilvi.network.tables import AddressScope, Subnet, SubnetPool

_SMALLEST = {4: 8, 6: 64}
_LARGEST = {4: 32, 6: 128}


def create(ctx: Context, body: Any, project_id: str) -> SubnetPool:
    """A pool of prefixes of one IP version."""
    records.claim(ctx, "subnetpool", project_id)
    prefixes = _compact(body.prefixes)
    version = arithmetic.cidr_range(prefixes[0]).version
    smallest = body.min_prefixlen if body.min_prefixlen is not None else _SMALLEST[version]
    row = SubnetPool(
        **records.born(project_id, body), prefixes=prefixes, ip_version=version, min_prefixlen=smallest,
        max_prefixlen=body.max_prefixlen if body.max_prefixlen is not None else _LARGEST[version],
        default_prefixlen=body.default_prefixlen if body.default_prefixlen is not None else smallest, default_quota=body.default_quota,
        is_default=body.is_default, address_scope_id=body.address_scope_id,
    )  # fmt: skip
    _check_bounds(row)
    if body.is_default:
        _only_default(ctx, row)
    if row.address_scope_id:
        _check_scope(ctx, row, shared=body.shared)
    ctx.db.insert(row)
    if body.shared:
        sharing.share(ctx.db, project_id, "subnetpool", row.id)
    return row


def update(ctx: Context, row: SubnetPool, given: dict[str, Any]) -> None:
    """Change a pool; prefixes may be added, and those that nothing is cut from removed."""
    changed = SubnetPool(**(row.values() | {name: value for name, value in given.items() if name in row.__struct_fields__}))
    if "prefixes" in given:
        changed.prefixes = given["prefixes"] = _compact(given["prefixes"])
        if any(arithmetic.cidr_range(one).version != row.ip_version for one in changed.prefixes):
            raise InvalidInput("Invalid input for operation: the prefixes are of another IP version.", field="prefixes")
        _check_kept(row, changed)
        _check_cut(ctx, changed)
    _check_bounds(changed)
    if given.get("is_default") and not row.is_default:
        _only_default(ctx, changed)
    _check_scope_owner(ctx, row, given)
    if changed.address_scope_id and ("address_scope_id" in given or "prefixes" in given):
        _check_scope(ctx, changed, shared=sharing.is_shared(ctx.db, "subnetpool", row.id, sharing.EVERYONE))
    records.change(ctx.db, row, **given)


def delete(ctx: Context, row: SubnetPool) -> None:
    """Delete a pool from which nothing is cut."""
    if ctx.db.count(Subnet, Subnet.c.subnetpool_id == row.id):
        raise SubnetPoolInUse(f"Unable to complete operation on subnet pool {row.id}. There are one or more subnets allocated from it.")
    sharing.forget(ctx.db, "subnetpool", row.id)
    ctx.db.remove(row)


def add_prefixes(ctx: Context, row: SubnetPool, prefixes: Sequence[str]) -> None:
    """Have these prefixes as well."""
    update(ctx, row, {"prefixes": [*row.prefixes, *prefixes]})


def remove_prefixes(ctx: Context, row: SubnetPool, prefixes: Sequence[str]) -> None:
    """Have these prefixes no more, nor their parts."""
    held = [arithmetic.cidr_range(one) for one in row.prefixes]
    for text in prefixes:
        gone = arithmetic.parse_cidr(text, "prefixes")
        left: list[arithmetic.Range] = []
        for net in held:
            if net.version != gone.version or not net.overlaps(gone):  # type: ignore[arg-type]
                left.append(net)
            elif gone.prefixlen > net.prefixlen:
                left += net.address_exclude(gone)  # type: ignore[arg-type]
        held = left
    if not held:
        raise IllegalSubnetPoolPrefixUpdate("Illegal update to prefixes: a subnet pool keeps at least one prefix.", field="prefixes")
    changed = SubnetPool(**row.values())
    changed.prefixes = _compact([str(one) for one in held])
    _check_cut(ctx, changed)
    records.change(ctx.db, row, prefixes=changed.prefixes)


def _compact(prefixes: Sequence[str]) -> list[str]:
    """The prefixes of one IP version, joined where they touch."""
    nets = [arithmetic.parse_cidr(text, "prefixes") for text in prefixes]
    if not nets:
        raise InvalidInput("Invalid input for operation: a subnet pool needs at least one prefix.", field="prefixes")
    if len({net.version for net in nets}) > 1:
        raise InvalidInput("Invalid input for operation: Cannot mix IPv4 and IPv6 prefixes in a subnet pool.", field="prefixes")
    return [str(net) for net in ipaddress.collapse_addresses(nets)]  # type: ignore[type-var]


def _check_bounds(row: SubnetPool) -> None:
    most = _LARGEST[row.ip_version]
    for name in ("min_prefixlen", "max_prefixlen", "default_prefixlen"):
        if not 0 <= getattr(row, name) <= most:
            raise InvalidInput(f"Invalid input for operation: {name} must be from 0 to {most}.", field=name)
    for low, high in (("min_prefixlen", "max_prefixlen"), ("min_prefixlen", "default_prefixlen"), ("default_prefixlen", "max_prefixlen")):
        if getattr(row, low) > getattr(row, high):
            raise IllegalSubnetPoolPrefixBounds(f"Illegal prefix bounds: {low}={getattr(row, low)}, {high}={getattr(row, high)}.", field=low)


def _check_kept(row: SubnetPool, changed: SubnetPool) -> None:
    """A change of the prefixes only adds; `remove_prefixes` takes away."""
    new = [arithmetic.cidr_range(one) for one in changed.prefixes]
    for text in row.prefixes:
        net = arithmetic.cidr_range(text)
        if not any(net.subnet_of(other) for other in new):  # type: ignore[arg-type]
            raise IllegalSubnetPoolPrefixUpdate(f"Illegal update to prefixes: the existing prefix {net} would be lost.", field="prefixes")


def _check_scope_owner(ctx: Context, row: SubnetPool, given: dict[str, Any]) -> None:
    """Who does not own a pool's scope does not change what the scope is made of."""
    scope = ctx.db.get(AddressScope, row.address_scope_id) if row.address_scope_id and "prefixes" in given else None
    if scope is not None and scope.project_id != ctx.project_id and not ctx.is_admin:
        raise IllegalSubnetPoolAssociationToAddressScope(f"Illegal subnetpool update: address scope {scope.id} is not owned by the project.")


def _check_cut(ctx: Context, row: SubnetPool) -> None:
    nets = [arithmetic.cidr_range(one) for one in row.prefixes]
    for subnet in ctx.db.all(Subnet, Subnet.c.subnetpool_id == row.id):
        cut = arithmetic.cidr_range(subnet.cidr)
        if not any(cut.subnet_of(net) for net in nets):  # type: ignore[arg-type]
            raise IllegalSubnetPoolPrefixUpdate(f"Illegal update to prefixes: the subnet {subnet.id} uses {cut}.", field="prefixes")


def _only_default(ctx: Context, row: SubnetPool) -> None:
    other = ctx.db.one(SubnetPool, SubnetPool.c.is_default == sa.true(), SubnetPool.c.ip_version == row.ip_version, SubnetPool.c.id != row.id)
    if other is not None:
        raise InvalidInput(
            f"Invalid input for operation: A default subnetpool for this IP family has already been set. Only one default may exist per IP "
            f"family ({other.id}).", field="is_default",
        )  # fmt: skip


def _check_scope(ctx: Context, row: SubnetPool, *, shared: bool) -> None:
    """A pool joins a scope that its project may use, of its IP version, whose other pools it does not overlap."""
    scope = ctx.db.get(AddressScope, row.address_scope_id or "")
    if scope is None or not (
        scope.project_id == ctx.project_id or sharing.sees_all(ctx) or sharing.is_shared(ctx.db, "address_scope", scope.id, ctx.project_id)
    ):
        raise AddressScopeNotFound(row.address_scope_id or "")
    if scope.ip_version != row.ip_version:
        raise IllegalSubnetPoolAssociationToAddressScope(
            f"Illegal subnetpool association: subnetpool {row.id} cannot associate with address scope {scope.id} because of another ip_version."
        )
    if shared and not sharing.is_shared(ctx.db, "address_scope", scope.id, sharing.EVERYONE) and scope.project_id != row.project_id:
        raise IllegalSubnetPoolAssociationToAddressScope(f"Illegal subnetpool association: address scope {scope.id} is not shared.")
    nets = [arithmetic.cidr_range(one) for one in row.prefixes]
    for other in ctx.db.all(SubnetPool, SubnetPool.c.address_scope_id == scope.id, SubnetPool.c.id != row.id):
        if any(net.overlaps(arithmetic.cidr_range(text)) for net in nets for text in other.prefixes):  # type: ignore[arg-type]
            raise AddressScopePrefixConflict(
                f"Failed to associate address scope: the prefixes of the pool {other.id} in the same scope overlap with these."
            )


# -- address scopes ----------------------------------------------------------------------------------


def create_scope(ctx: Context, body: Any, project_id: str) -> AddressScope:
    """A scope in which pools do not overlap."""
    row = ctx.db.insert(AddressScope(**records.born(project_id, body), ip_version=body.ip_version))
    if body.shared:
        sharing.share(ctx.db, project_id, "address_scope", row.id)
    return row


def update_scope(ctx: Context, row: AddressScope, given: dict[str, Any]) -> None:
    """Rename a scope, or share it; what is shared stays so."""
    shared = given.pop("shared", None)
    held = sharing.is_shared(ctx.db, "address_scope", row.id, sharing.EVERYONE)
    if shared is False and held:
        raise InvalidInput("Invalid input for operation: an address scope that is shared cannot be made private again.", field="shared")
    if shared and not held:
        sharing.share(ctx.db, row.project_id, "address_scope", row.id)
    records.change(ctx.db, row, **given)


def delete_scope(ctx: Context, row: AddressScope) -> None:
    """Delete a scope that has no pools."""
    if ctx.db.count(SubnetPool, SubnetPool.c.address_scope_id == row.id):
        raise AddressScopeInUse(f"Unable to complete operation on address scope {row.id}. There are one or more subnet pools in use on it.")
    sharing.forget(ctx.db, "address_scope", row.id)
    ctx.db.remove(row)
