"""Security groups and their rules as compute's API showed them until 2.35; they are the network service's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec

from pilvi.compute import policy
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.http import Body, Listing, Query, Resource
from pilvi.kernel.ids import is_uuid
from pilvi.network import for_compute as network

security_groups = Resource("/v2.1/os-security-groups", tag="security groups", until="2.35")
security_group_rules = Resource("/v2.1/os-security-group-rules", tag="security groups", until="2.35")

LIST = policy.reader("os-security-groups:get", "List security groups.")
SHOW = policy.reader("os-security-groups:show", "Show a security group.")
CREATE = policy.member("os-security-groups:create", "Create a security group.")
UPDATE = policy.member("os-security-groups:update", "Change a security group.")
DELETE = policy.member("os-security-groups:delete", "Delete a security group.")
ADD_RULE = policy.member("os-security-groups:rule:create", "Create a rule of a security group.")
REMOVE_RULE = policy.member("os-security-groups:rule:delete", "Delete a rule of a security group.")

Text = Annotated[str, msgspec.Meta(max_length=255)]
ANYWHERE = "0.0.0.0/0"
_PORTED = ("tcp", "udp")


class GroupBody(Body):
    """A group's name and what is said of it."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    description: Text = ""


class RuleBody(Body):
    """What a group shall let in: from addresses, or from another group's members."""

    parent_group_id: str
    ip_protocol: Text | None = None
    from_port: int | None = None
    to_port: int | None = None
    cidr: Annotated[str, msgspec.Meta(max_length=50)] | None = None
    group_id: str | None = None


class GroupsQuery(Query, extra=True):
    """Which part of the list; all projects' for administrators."""

    all_tenants: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=0)] | None = None
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


@contextmanager
def _in_novas_words() -> Iterator[None]:
    """What clashes (a group in use, a rule that is there) is a bad request here."""
    try:
        yield
    except Conflict as error:
        raise Invalid(error.message) from error


def _id(ref: str, field: str) -> str:
    if not is_uuid(ref):
        raise Invalid(f"Security group id should be uuid, not {ref[:100]}", field=field)
    return ref


def rule_view(rule: network.GroupRule) -> dict[str, Any]:
    """A rule as old clients see it: all ports are 1 to 65535, or -1 where there are none."""
    low, high = rule.low, rule.high
    if rule.protocol is not None and low is None and high is None:
        low, high = (1, 65535) if rule.protocol in _PORTED else (-1, -1)
    return {
        "id": rule.id, "parent_group_id": rule.group_id, "ip_protocol": rule.protocol, "from_port": low, "to_port": high,
        "group": {} if rule.remote is None else {"tenant_id": rule.remote[0], "name": rule.remote[1]},
        "ip_range": {"cidr": rule.prefix or ANYWHERE} if rule.remote is None else {},
    }  # fmt: skip


def view(group: network.Group) -> dict[str, Any]:
    """A group as old clients see it: with what it lets in."""
    return {
        "id": group.id, "name": group.name, "description": group.description, "tenant_id": group.project_id,
        "rules": [rule_view(rule) for rule in group.rules],
    }  # fmt: skip


@security_groups.get("", rule=LIST, out="security_groups", write=None)
def index(ctx: Context, query: GroupsQuery) -> Listing:
    """List security groups; a project's default group is made when it is first looked for."""
    with ctx.program.db.transaction(write=False) as tx:
        there = network.has_default_group(ctx.program.context(tx, ctx.caller, request_id=ctx.request_id))
    with ctx.program.db.transaction(write=not there) as tx:
        found = network.list_groups(ctx.program.context(tx, ctx.caller, request_id=ctx.request_id), everyone=query.all_tenants is not None)
    last = None if query.limit is None else query.offset + query.limit
    return Listing([view(group) for group in found[query.offset : last]])


@security_groups.get("/{group_id}", rule=SHOW, out="security_group")
def show(ctx: Context, group_id: str) -> dict[str, Any]:
    """Show a security group."""
    return view(network.group(ctx, _id(group_id, "id")))


@security_groups.post("", rule=CREATE, out="security_group")
def create(ctx: Context, security_group: GroupBody) -> dict[str, Any]:
    """Create a security group."""
    return view(network.create_group(ctx, security_group.name, security_group.description))


@security_groups.put("/{group_id}", rule=UPDATE, out="security_group")
def update(ctx: Context, group_id: str, security_group: GroupBody) -> dict[str, Any]:
    """Rename and describe a security group."""
    with _in_novas_words():
        return view(network.update_group(ctx, _id(group_id, "id"), security_group.name, security_group.description))


@security_groups.delete("", rule=DELETE, write=None)
def delete_nameless(ctx: Context) -> None:
    """Refuse to delete a group of no id."""
    raise NotFound("Security group  not found.")


@security_groups.delete("/{group_id}", rule=DELETE, answers=202)
def delete(ctx: Context, group_id: str) -> None:
    """Delete a security group that no server is in."""
    with _in_novas_words():
        network.delete_group(ctx, _id(group_id, "id"))


@security_group_rules.post("", rule=ADD_RULE, out="security_group_rule")
def create_rule(ctx: Context, security_group_rule: RuleBody) -> dict[str, Any]:
    """Let more in."""
    asked = security_group_rule
    if asked.cidr is not None and asked.group_id is not None:
        raise Invalid("A rule is for addresses (cidr) or for a group (group_id), not for both.", field="security_group_rule.group_id")
    if asked.ip_protocol is None and asked.group_id is None:
        raise Invalid("Not enough parameters to build a valid rule.", field="security_group_rule.ip_protocol")
    remote = None if asked.group_id is None else _id(asked.group_id, "security_group_rule.group_id")
    ports = [None if port == -1 else port for port in (asked.from_port, asked.to_port)]
    with _in_novas_words():
        made = network.create_group_rule(
            ctx, _id(asked.parent_group_id, "security_group_rule.parent_group_id"), protocol=asked.ip_protocol, low=ports[0], high=ports[1],
            prefix=None if remote else asked.cidr or ANYWHERE, remote_group_id=remote,
        )  # fmt: skip
    return rule_view(made)


@security_group_rules.delete("/{rule_id}", rule=REMOVE_RULE, answers=202)
def delete_rule(ctx: Context, rule_id: str) -> None:
    """Let in no more what the rule let in."""
    network.delete_group_rule(ctx, _id(rule_id, "id"))
