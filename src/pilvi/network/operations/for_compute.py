"""What compute's older API shows of networks: security groups, floating IPs, pools and networks in few words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, NotFound
from pilvi.kernel.ids import is_uuid
from pilvi.network.errors import FloatingIPNotFound, SecurityGroupNotFound, SecurityGroupRuleNotFound
from pilvi.network.operations import default_groups, floating_ips, networks, records, security_groups, sharing
from pilvi.network.tables import FloatingIp, Network, Port, SecurityGroup, SecurityRule


class GroupRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a group lets in.  `remote` is the group (project, name) whose members may come, when it is one."""

    id: str
    group_id: str
    protocol: str | None
    low: int | None
    high: int | None
    prefix: str | None
    remote: tuple[str, str] | None = None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A security group and what it lets in."""

    id: str
    project_id: str
    name: str
    description: str
    rules: list[GroupRule] = []


class Floating(msgspec.Struct, frozen=True, kw_only=True):
    """A floating IP: where it is from, and where it leads to."""

    id: str
    address: str
    pool: str
    fixed: str | None = None
    server_id: str | None = None


class NetworkName(msgspec.Struct, frozen=True, kw_only=True):
    """A network by id and name."""

    id: str
    name: str


# -- security groups -----------------------------------------------------------------------------------


def list_groups(ctx: Context, *, everyone: bool = False) -> list[Group]:
    """The project's groups, its default one among them (in a writing transaction it is made first); or all projects'."""
    if ctx.project_id and ctx.db.write:
        default_groups.ensure(ctx, ctx.project_id)
    where = [] if everyone and sharing.sees_all(ctx) else [SecurityGroup.c.project_id == ctx.project_id]
    return _groups(ctx, ctx.db.all(SecurityGroup, *where, order=[SecurityGroup.c.created_at, SecurityGroup.c.id]))


def has_default_group(ctx: Context) -> bool:
    """Whether the project's default group was made already."""
    return not ctx.project_id or ctx.db.count(SecurityGroup, SecurityGroup.c.default_of == ctx.project_id) > 0


def groups_of_server(ctx: Context, server_id: str) -> list[Group]:
    """The groups that the server's ports are in."""
    held = ctx.db.all(Port, Port.c.device_id == server_id)
    return _groups(ctx, ctx.db.by(SecurityGroup, SecurityGroup.c.id, [ref for port in held for ref in port.security_groups]))


def group(ctx: Context, ref: str) -> Group:
    """A group that the caller may see; raises SecurityGroupNotFound."""
    return _groups(ctx, [_group(ctx, ref)])[0]


def create_group(ctx: Context, name: str, description: str) -> Group:
    """A new group of the caller's project."""
    from pilvi.network.api.security_groups import CreateGroup

    _allow(ctx, "create_security_group", ctx.project_id)
    made = security_groups.create(ctx, CreateGroup(name=name, description=description), ctx.project_id)
    return _groups(ctx, [made])[0]


def update_group(ctx: Context, ref: str, name: str, description: str) -> Group:
    """Rename and describe a group."""
    row = _group(ctx, ref)
    _allow(ctx, "update_security_group", row.project_id)
    security_groups.update(ctx, row, {"name": name, "description": description})
    return _groups(ctx, [row])[0]


def delete_group(ctx: Context, ref: str) -> None:
    """Delete a group that nobody is in; raises Conflict."""
    row = _group(ctx, ref)
    _allow(ctx, "delete_security_group", row.project_id)
    security_groups.delete(ctx, row)


def create_group_rule(
    ctx: Context, group_id: str, *, protocol: str | None, low: int | None, high: int | None, prefix: str | None, remote_group_id: str | None
) -> GroupRule:
    """Let more in: from addresses, or from another group's members."""
    from pilvi.network.api.security_groups import CreateRule

    parent = _group(ctx, group_id)
    _allow(ctx, "create_security_group_rule", parent.project_id)
    body = CreateRule(
        security_group_id=parent.id, direction="ingress", ethertype="IPv6" if prefix and ":" in prefix else "IPv4", protocol=protocol,
        port_range_min=low, port_range_max=high, remote_ip_prefix=prefix, remote_group_id=remote_group_id,
    )  # fmt: skip
    return _rules(ctx, [security_groups.create_rule(ctx, body, parent.project_id)])[0]


def delete_group_rule(ctx: Context, ref: str) -> None:
    """Let in no more what a rule let in."""
    row = ctx.db.get(SecurityRule, ref)
    if row is None or not (row.project_id == ctx.project_id or sharing.sees_all(ctx)):
        raise SecurityGroupRuleNotFound(ref)
    _allow(ctx, "delete_security_group_rule", row.project_id)
    security_groups.delete_rule(ctx, row)


def _allow(ctx: Context, rule: str, project_id: str) -> None:
    ctx.allow(rule, {"project_id": project_id, "tenant_id": project_id, "security_group:tenant_id": project_id})


def _group(ctx: Context, ref: str) -> SecurityGroup:
    row = ctx.db.get(SecurityGroup, ref)
    mine = row is not None and (row.project_id == ctx.project_id or sharing.sees_all(ctx))
    if row is None or not (mine or sharing.is_shared(ctx.db, "security_group", ref, ctx.project_id)):
        raise SecurityGroupNotFound(ref)
    return row


def _groups(ctx: Context, rows: Sequence[SecurityGroup]) -> list[Group]:
    rules: dict[str, list[GroupRule]] = {row.id: [] for row in rows}
    for rule in _rules(ctx, ctx.db.by(SecurityRule, SecurityRule.c.security_group_id, rules, SecurityRule.c.direction == "ingress")):
        rules[rule.group_id].append(rule)
    return [Group(id=row.id, project_id=row.project_id, name=row.name, description=row.description, rules=rules[row.id]) for row in rows]


def _rules(ctx: Context, rows: Sequence[SecurityRule]) -> list[GroupRule]:
    remotes = {one.id: one for one in ctx.db.by(SecurityGroup, SecurityGroup.c.id, [row.remote_group_id for row in rows if row.remote_group_id])}
    found = []
    for row in rows:
        remote = remotes.get(row.remote_group_id or "")
        found.append(
            GroupRule(
                id=row.id, group_id=row.security_group_id, protocol=row.protocol, low=row.port_range_min, high=row.port_range_max,
                prefix=row.remote_ip_prefix, remote=None if remote is None else (remote.project_id, remote.name),
            )
        )  # fmt: skip
    return found


# -- floating IPs --------------------------------------------------------------------------------------


def list_floating(ctx: Context) -> list[Floating]:
    """The project's floating IPs."""
    return _told(ctx, ctx.db.all(FloatingIp, FloatingIp.c.project_id == ctx.project_id, order=[FloatingIp.c.created_at, FloatingIp.c.id]))


def floating(ctx: Context, ref: str) -> Floating:
    """The project's floating IP of that id; raises FloatingIPNotFound."""
    return _told(ctx, [_floating(ctx, ref)])[0]


def pools(ctx: Context) -> list[NetworkName]:
    """The external networks that floating IPs can be from."""
    where = [Network.c.external.is_(True)]
    visible = sharing.visible(ctx, "network", sharing.SHARED, sharing.EXTERNAL)
    if visible is not None:
        where.append(visible)
    return [NetworkName(id=row.id, name=row.name) for row in ctx.db.all(Network, *where, order=[Network.c.is_default.desc(), Network.c.name])]


def create_floating(ctx: Context, pool: str | None) -> Floating:
    """A floating IP from the pool of that name or id (None: the default one); raises NotFound."""
    from pilvi.network.api.floating_ips import CreateFloatingIp

    _allow(ctx, "create_floatingip", ctx.project_id)
    chosen = next((one for one in pools(ctx) if pool is None or pool in (one.id, one.name)), None)
    if chosen is None:
        raise NotFound(f"Floating IP pool not found: {pool[:100]}." if pool else "There is no floating IP pool.")
    return _told(ctx, [floating_ips.create(ctx, CreateFloatingIp(floating_network_id=chosen.id), ctx.project_id)])[0]


def delete_floating(ctx: Context, ref: str) -> None:
    """Give a floating IP back."""
    row = _floating(ctx, ref)
    _allow(ctx, "delete_floatingip", row.project_id)
    floating_ips.delete(ctx, row)


def lead_floating(ctx: Context, address: str, server_id: str, fixed: str | None) -> None:
    """Have a floating IP lead to a server: to its address `fixed`, or to its first.

    Raises NotFound for an unknown floating IP, Conflict when the server has no such address.
    """
    row = _by_address(ctx, address)
    _allow(ctx, "update_floatingip", row.project_id)
    for port in ctx.db.all(Port, Port.c.device_id == server_id, order=[Port.c.created_at, Port.c.id]):
        held = [one.ip_address for one in port.fixed_ips if ":" not in one.ip_address and fixed in (None, one.ip_address)]
        if held:
            floating_ips.update(ctx, row, {"port_id": port.id, "fixed_ip_address": held[0]})
            return
    raise Conflict(f"The server has no address {fixed}." if fixed else "The server has no fixed address to which a floating IP could lead.")


def part_floating(ctx: Context, address: str, server_id: str) -> None:
    """Have a floating IP lead to the server no more; raises Conflict when it did not."""
    row = _by_address(ctx, address)
    _allow(ctx, "update_floatingip", row.project_id)
    port = ctx.db.get(Port, row.fixed_port_id) if row.fixed_port_id else None
    if port is None or port.device_id != server_id:
        raise Conflict(f"Floating IP {address} is not associated with server {server_id}.")
    floating_ips.update(ctx, row, {"port_id": None})


def _floating(ctx: Context, ref: str) -> FloatingIp:
    row = ctx.db.get(FloatingIp, ref) if is_uuid(ref) else None
    if row is None or not (row.project_id == ctx.project_id or sharing.sees_all(ctx)):
        raise FloatingIPNotFound(ref)
    return row


def _by_address(ctx: Context, address: str) -> FloatingIp:
    where = [] if sharing.sees_all(ctx) else [FloatingIp.c.project_id == ctx.project_id]
    row = ctx.db.one(FloatingIp, FloatingIp.c.floating_ip_address == address, *where)
    if row is None:
        raise FloatingIPNotFound(address)
    return row


def _told(ctx: Context, rows: Sequence[FloatingIp]) -> list[Floating]:
    names = dict(ctx.db.rows(sa.select(Network.c.id, Network.c.name).where(Network.c.id.in_({row.floating_network_id for row in rows}))))
    devices = {port.id: port.device_id for port in ctx.db.by(Port, Port.c.id, [row.fixed_port_id for row in rows if row.fixed_port_id])}
    return [
        Floating(
            id=row.id, address=row.floating_ip_address, pool=names.get(row.floating_network_id, ""), fixed=row.fixed_ip_address,
            server_id=devices.get(row.fixed_port_id or "") or None,
        )
        for row in rows
    ]  # fmt: skip


# -- networks and quotas -------------------------------------------------------------------------------


def list_networks(ctx: Context) -> list[NetworkName]:
    """The networks that the caller may see."""
    visible = sharing.visible(ctx, "network", sharing.SHARED, sharing.EXTERNAL)
    where = [] if visible is None else [visible]
    return [NetworkName(id=row.id, name=row.name) for row in ctx.db.all(Network, *where, order=[Network.c.created_at, Network.c.id])]


def network(ctx: Context, ref: str) -> NetworkName:
    """A network that the caller may see; raises NetworkNotFound."""
    row = networks.get(ctx, ref)
    return NetworkName(id=row.id, name=row.name)


_COUNTED = {"floating_ips": "floatingip", "security_groups": "security_group", "security_group_rules": "security_group_rule"}


def limits(ctx: Context, scope: str) -> dict[str, int]:
    """The limits that old quota answers name, of a project or of "class:default"."""
    found = records.quotas(ctx).limits(ctx.db, scope)
    return {name: found[resource] for name, resource in _COUNTED.items()}


def used(ctx: Context, project_id: str, names: Sequence[str] = tuple(_COUNTED)) -> dict[str, int]:
    """What of them the project has."""
    return {name: records.used(ctx.db, _COUNTED[name], project_id) for name in names}
