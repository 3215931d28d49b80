"""Security groups, their rules, and the template of new groups in HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from msgspec import Meta

from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Request
from pilvi.kernel.http.shape import Body
from pilvi.network.api import listing
from pilvi.network.api.collection import Collection, standard
from pilvi.network.api.rights import Target
from pilvi.network.api.shapes import Described, Ip, Text, changes
from pilvi.network.errors import DefaultSecurityGroupRuleNotFound, SecurityGroupNotFound, SecurityGroupRuleNotFound
from pilvi.network.operations import default_groups, default_rules, security_groups, sharing
from pilvi.network.tables import DefaultRule, SecurityGroup, SecurityRule

_Number = Annotated[int, Meta(ge=-(2**31), lt=2**31)]
_Ref = Annotated[str, Meta(max_length=64)]


class CreateGroup(Described):
    """A security group to be made."""

    stateful: bool = True


class CreateRule(Body):
    """A rule to be made."""

    security_group_id: _Ref
    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"] = "IPv4"
    protocol: Annotated[str, Meta(max_length=40)] | int | None = None
    port_range_min: _Number | None = None
    port_range_max: _Number | None = None
    remote_ip_prefix: Ip | None = None
    remote_group_id: _Ref | None = None
    remote_address_group_id: _Ref | None = None
    description: Text = ""


class CreateDefaultRule(Body):
    """A rule of the template to be made; the remote group PARENT is the new group itself."""

    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"] = "IPv4"
    protocol: Annotated[str, Meta(max_length=40)] | int | None = None
    port_range_min: _Number | None = None
    port_range_max: _Number | None = None
    remote_ip_prefix: Ip | None = None
    remote_group_id: _Ref | None = None
    remote_address_group_id: _Ref | None = None
    used_in_default_sg: bool = False
    used_in_non_default_sg: bool = True
    description: Text = ""


def groups_told(ctx: Context, rows: Sequence[SecurityGroup]) -> list[dict[str, Any]]:
    """Security groups with their rules as clients see them."""
    ids = [row.id for row in rows]
    default = {row.id: row.default_of is not None for row in rows}
    rules: dict[str, list[dict[str, Any]]] = {}
    for rule in ctx.db.by(SecurityRule, SecurityRule.c.security_group_id, ids):
        rules.setdefault(rule.security_group_id, []).append(rule_view(rule, default[rule.security_group_id]))
    shared = sharing.shared_among(ctx, "security_group", ids)
    return [
        standard(row) | {"stateful": row.stateful, "shared": row.id in shared, "security_group_rules": rules.get(row.id, [])} for row in rows
    ]


def rule_view(row: SecurityRule, default: bool) -> dict[str, Any]:
    """A rule as clients see it."""
    view = standard(row)
    del view["name"]
    return view | {
        "security_group_id": row.security_group_id, "direction": row.direction, "ethertype": row.ethertype, "protocol": row.protocol,
        "port_range_min": row.port_range_min, "port_range_max": row.port_range_max, "remote_ip_prefix": row.remote_ip_prefix,
        "normalized_cidr": row.normalized_cidr, "remote_group_id": row.remote_group_id,
        "remote_address_group_id": row.remote_address_group_id, "belongs_to_default_sg": default,
    }  # fmt: skip


def rules_told(ctx: Context, rows: Sequence[SecurityRule]) -> list[dict[str, Any]]:
    """Rules as clients see them."""
    groups = ctx.db.by(SecurityGroup, SecurityGroup.c.id, [row.security_group_id for row in rows])
    default = {row.id for row in groups if row.default_of is not None}
    return [rule_view(row, row.security_group_id in default) for row in rows]


def defaults_told(ctx: Context, rows: Sequence[DefaultRule]) -> list[dict[str, Any]]:
    """Rules of the template as clients see them."""
    return [
        {
            "id": row.id, "direction": row.direction, "ethertype": row.ethertype, "protocol": row.protocol,
            "port_range_min": row.port_range_min, "port_range_max": row.port_range_max, "remote_ip_prefix": row.remote_ip_prefix,
            "remote_group_id": row.remote_group_id, "remote_address_group_id": row.remote_address_group_id,
            "used_in_default_sg": row.used_in_default_sg, "used_in_non_default_sg": row.used_in_non_default_sg, "description": row.description,
        }
        for row in rows
    ]  # fmt: skip


def _asked_of(ctx: Context, request: Request) -> str:
    """The project whose groups are listed: an admin may name another than the own."""
    named = [value for name, value in request.query if name in ("project_id", "tenant_id")] if ctx.is_admin else []
    return named[0] if len(named) == 1 and 0 < len(named[0]) <= 64 else ctx.project_id


def _has_default(ctx: Context, request: Request) -> bool:
    project_id = _asked_of(ctx, request)
    return not project_id or ctx.db.one(SecurityGroup, SecurityGroup.c.default_of == project_id) is not None


def _make_default(ctx: Context, request: Request) -> None:
    default_groups.ensure(ctx, _asked_of(ctx, request))


def _group_target(ctx: Context, row: SecurityGroup) -> Target:
    return Target(row.project_id, {"shared": lambda: sharing.is_shared(ctx.db, "security_group", row.id, ctx.project_id)})


def _rule_target(ctx: Context, row: SecurityRule) -> Target:
    def owner() -> str:
        group = ctx.db.get(SecurityGroup, row.security_group_id)
        return group.project_id if group else ""

    return Target(row.project_id, {"security_group:tenant_id": owner})


def _rules_visible(ctx: Context) -> Any:
    if sharing.sees_all(ctx):
        return None
    own = sa.select(SecurityGroup.c.id).where(SecurityGroup.c.project_id == ctx.project_id)
    return sa.or_(SecurityRule.c.project_id == ctx.project_id, SecurityRule.c.security_group_id.in_(own))


def _shared_filter(ctx: Context, values: list[str]) -> Any:
    ids = sharing.shared_ids(ctx.project_id, "security_group")
    wanted = {listing.truth(text, "shared") for text in values}
    return sa.true() if len(wanted) > 1 else SecurityGroup.c.id.in_(ids) if True in wanted else SecurityGroup.c.id.not_in(ids)


def _default_filter(ctx: Context, values: list[str]) -> Any:
    wanted = {listing.truth(text, "belongs_to_default_sg") for text in values}
    ids = sa.select(SecurityGroup.c.id).where(SecurityGroup.c.default_of.is_not(None))
    column = SecurityRule.c.security_group_id
    return sa.true() if len(wanted) > 1 else column.in_(ids) if True in wanted else column.not_in(ids)


GROUPS = Collection(
    "security_group", "security_groups", SecurityGroup, missing=SecurityGroupNotFound, views=groups_told, create=CreateGroup,
    update=changes(CreateGroup, ["stateful"]), make=security_groups.create, change=security_groups.update, drop=security_groups.delete,
    visible=lambda ctx: sharing.visible(ctx, "security_group"), target=_group_target,
    prepare=(_has_default, _make_default), hidden=("tags", "default_of"), filters={"shared": _shared_filter},
)  # fmt: skip
RULES = Collection(
    "security_group_rule", "security_group_rules", SecurityRule, missing=SecurityGroupRuleNotFound, views=rules_told, create=CreateRule,
    make=security_groups.create_rule, drop=security_groups.delete_rule, visible=_rules_visible, target=_rule_target,
    hidden=("tags", "name"), filters={"belongs_to_default_sg": _default_filter}, together=security_groups.one_group,
)  # fmt: skip
DEFAULTS = Collection(
    "default_security_group_rule", "default_security_group_rules", DefaultRule, missing=DefaultSecurityGroupRuleNotFound, views=defaults_told,
    create=CreateDefaultRule, make=default_rules.create, drop=default_rules.delete, path="/v2.0/default-security-group-rules",
    hidden=("tags", "name", "project_id"),
)  # fmt: skip
