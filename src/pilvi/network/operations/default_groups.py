"""The default security group of each project, made when it is first needed, and the template of all new groups."""

from __future__ import annotations

from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict
from pilvi.kernel.ids import new_id
from pilvi.network.tables import DefaultRule, SecurityGroup, SecurityRule

PARENT = "PARENT"
_TEMPLATE = (
    ("egress", "IPv4", None, True), ("egress", "IPv6", None, True),
    ("ingress", "IPv4", PARENT, False), ("ingress", "IPv6", PARENT, False),
)  # fmt: skip


def ensure(ctx: Context, project_id: str) -> SecurityGroup:
    """The project's default group."""
    found = ctx.db.one(SecurityGroup, SecurityGroup.c.default_of == project_id)
    if found is not None:
        return found
    now = clock.now()
    group = SecurityGroup(
        id=new_id(), project_id=project_id, name="default", description="Default security group", created_at=now, updated_at=now,
        default_of=project_id,
    )  # fmt: skip
    try:
        with ctx.db.attempt():
            ctx.db.insert(group)
    except Conflict:
        other = ctx.db.one(SecurityGroup, SecurityGroup.c.default_of == project_id)
        if other is not None:
            return other
        raise
    ctx.db.insert_all(born_rules(ctx, group))
    return group


def born_rules(ctx: Context, group: SecurityGroup) -> list[SecurityRule]:
    """The rules that a new group has."""
    now = clock.now()
    default = group.default_of is not None
    return [
        SecurityRule(
            id=new_id(), project_id=group.project_id, created_at=now, updated_at=now, security_group_id=group.id, direction=one.direction,
            ethertype=one.ethertype, protocol=one.protocol, port_range_min=one.port_range_min, port_range_max=one.port_range_max,
            remote_ip_prefix=one.remote_ip_prefix, normalized_cidr=one.remote_ip_prefix,
            remote_group_id=group.id if one.remote_group_id == PARENT else one.remote_group_id,
            remote_address_group_id=one.remote_address_group_id,
        )
        for one in template(ctx)
        if (one.used_in_default_sg if default else one.used_in_non_default_sg)
    ]  # fmt: skip


def template(ctx: Context) -> list[DefaultRule]:
    """The rules of new groups, as an admin left them."""
    return ctx.db.all(DefaultRule, order=[DefaultRule.c.created_at, DefaultRule.c.id])


def plant(ctx: Context) -> None:
    """A new cloud's template: all may go out, and in from members of the same default group."""
    if ctx.db.count(DefaultRule):
        return
    for place, (direction, ethertype, remote, everywhere) in enumerate(_TEMPLATE):
        now = clock.now() + place * 1e-3
        ctx.db.insert(
            DefaultRule(
                id=new_id(), project_id="", created_at=now, updated_at=now, direction=direction, ethertype=ethertype, remote_group_id=remote,
                used_in_default_sg=True, used_in_non_default_sg=everywhere,
            )
        )  # fmt: skip
