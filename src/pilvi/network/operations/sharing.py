"""Sharing: RBAC policies, who may see what by them, and what keeps one from being taken back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict
from pilvi.kernel.ids import new_id
from pilvi.network.errors import DuplicateRbacPolicy, InvalidSharedSetting, RbacPolicyInUse
from pilvi.network.operations import records
from pilvi.network.tables import (
    AddressGroup,
    AddressScope,
    FloatingIp,
    Network,
    Owned,
    Port,
    PortGroup,
    Router,
    SecurityGroup,
    SecurityRule,
    Share,
    Subnet,
    SubnetPool,
)  # fmt: skip
from pilvi.network.tables.sharing import EVERYONE

SHARED, EXTERNAL = "access_as_shared", "access_as_external"
KINDS: dict[str, type[Owned]] = {
    "network": Network, "security_group": SecurityGroup, "address_scope": AddressScope, "subnetpool": SubnetPool,
    "address_group": AddressGroup,
}  # fmt: skip


def shared_ids(project_id: str, object_type: str, *actions: str) -> Any:
    """The query for ids of what is shared with the project."""
    return sa.select(Share.c.object_id).where(
        Share.c.object_type == object_type, Share.c.action.in_(actions or (SHARED,)), Share.c.target_project.in_([EVERYONE, project_id])
    )


def sees_all(ctx: Context) -> bool:
    """Whether the caller sees what belongs to anyone."""
    return ctx.is_admin or "service" in ctx.caller.roles


def visible(ctx: Context, object_type: str, *actions: str) -> Any:
    """The condition that the caller owns the row or has it shared; None for who sees all."""
    if sees_all(ctx):
        return None
    kind = KINDS[object_type]
    return sa.or_(kind.c.project_id == ctx.project_id, kind.c.id.in_(shared_ids(ctx.project_id, object_type, *actions)))


def shared_among(ctx: Context, object_type: str, ids: Iterable[str], action: str = SHARED) -> set[str]:
    """Which of the ids are shared with the caller's project."""
    wanted = list(ids)
    if not wanted:
        return set()
    rows = ctx.db.by(
        Share, Share.c.object_id, wanted,
        Share.c.object_type == object_type, Share.c.action == action, Share.c.target_project.in_([EVERYONE, ctx.project_id]),
    )  # fmt: skip
    return {row.object_id for row in rows}


def is_shared(tx: Transaction, object_type: str, object_id: str, project_id: str, *actions: str) -> bool:
    """Whether the object is shared with the project."""
    return tx.one(
        Share, Share.c.object_id == object_id, Share.c.object_type == object_type, Share.c.action.in_(actions or (SHARED,)),
        Share.c.target_project.in_([EVERYONE, project_id]),
    ) is not None  # fmt: skip


def share(tx: Transaction, project_id: str, object_type: str, object_id: str, action: str = SHARED, target: str = EVERYONE) -> Share:
    """Let the target use the object; DuplicateRbacPolicy when it may already."""
    row = Share(id=new_id(), project_id=project_id, object_type=object_type, object_id=object_id, action=action, target_project=target)
    clash = tx.one(
        Share, Share.c.object_type == object_type, Share.c.object_id == object_id, Share.c.action == action, Share.c.target_project == target
    )
    if clash is not None:
        raise DuplicateRbacPolicy("An RBAC policy already exists with those values.")
    try:
        return tx.insert(row)
    except Conflict:
        raise DuplicateRbacPolicy("An RBAC policy already exists with those values.") from None


def share_with_everyone(ctx: Context, row: Owned, object_type: str, wanted: bool) -> None:
    """Make `shared` true or false."""
    held = ctx.db.one(
        Share, Share.c.object_type == object_type, Share.c.object_id == row.id, Share.c.action == SHARED, Share.c.target_project == EVERYONE
    )
    if wanted and held is None:
        share(ctx.db, row.project_id, object_type, row.id)
    elif not wanted and held is not None:
        try:
            unshare(ctx, held)
        except RbacPolicyInUse:
            raise InvalidSharedSetting(
                f"Unable to reconfigure sharing settings for {object_type} {row.id}. Multiple tenants are using it."
            ) from None


def unshare(ctx: Context, policy: Share) -> None:
    """Take a policy back; RbacPolicyInUse when someone uses the object by it alone."""
    network = ctx.db.get(Network, policy.object_id) if policy.action == EXTERNAL else None
    if network is not None and network.is_default and policy.target_project == EVERYONE:
        raise RbacPolicyInUse(f"The network {network.id} is the default external network, and so is everyone's.")
    others = ctx.db.all(
        Share, Share.c.object_id == policy.object_id, Share.c.object_type == policy.object_type, Share.c.action == policy.action,
        Share.c.id != policy.id,
    )  # fmt: skip
    targets = {row.target_project for row in others}
    owner = ctx.db.get(KINDS[policy.object_type], policy.object_id)
    allowed = targets | ({owner.project_id} if owner else set())
    if EVERYONE not in targets:
        using = _users(ctx.db, policy)
        lost = {user for user in using if user and user not in allowed and policy.target_project in (EVERYONE, user)}
        if lost:
            raise RbacPolicyInUse(
                f"RBAC policy on object {policy.object_id} cannot be removed because other objects depend on it: used by projects "
                + ", ".join(sorted(lost))
            )
    ctx.db.remove(policy)
    if network is not None and not any(row.action == EXTERNAL for row in others):
        ctx.db.change(network, external=False)


def _users(tx: Transaction, policy: Share) -> set[str]:
    """The projects that use the object by this kind of sharing."""
    ref = policy.object_id
    if policy.object_type == "network" and policy.action == EXTERNAL:
        routers = tx.rows(sa.select(Router.c.project_id).where(Router.c.gateway_network_id == ref).distinct())
        floating = tx.rows(sa.select(FloatingIp.c.project_id).where(FloatingIp.c.floating_network_id == ref).distinct())
        return {row[0] for row in [*routers, *floating]}
    query = {
        "network": sa.select(Port.c.project_id).where(Port.c.network_id == ref, Port.c.device_owner.not_like("network:%")),
        "security_group": sa.select(Port.c.project_id).join(PortGroup.t, PortGroup.c.port_id == Port.c.id).where(PortGroup.c.group_id == ref),
        "address_scope": sa.select(SubnetPool.c.project_id).where(SubnetPool.c.address_scope_id == ref),
        "subnetpool": sa.select(Subnet.c.project_id).where(Subnet.c.subnetpool_id == ref),
        "address_group": sa.select(SecurityRule.c.project_id).where(SecurityRule.c.remote_address_group_id == ref),
    }[policy.object_type]
    return {row[0] for row in tx.rows(query.distinct())}


def forget(tx: Transaction, object_type: str, object_id: str) -> None:
    """The object is gone: so are its policies."""
    tx.delete(Share, Share.c.object_type == object_type, Share.c.object_id == object_id)


def claim(ctx: Context, project_id: str) -> None:
    """Hold the quota of policies."""
    records.claim(ctx, "rbac_policy", project_id)
