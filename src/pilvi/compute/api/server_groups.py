"""Server groups over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pilvi.compute import policy
from pilvi.compute.api.paging import PageQuery
from pilvi.compute.operations import server_groups as operations
from pilvi.compute.tables.server_groups import ServerGroup
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Forbidden, Invalid
from pilvi.kernel.http import Body, Listing, Resource, Version, View, since, until, wire

server_groups = Resource("/v2.1/os-server-groups", tag="server groups")

INDEX = policy.reader("os-server-groups:index", "List server groups.")
INDEX_ALL = policy.admin("os-server-groups:index:all_projects", "List all projects' server groups.")
SHOW = policy.reader("os-server-groups:show", "Show a server group.")
CREATE = policy.member("os-server-groups:create", "Create a server group.")
DELETE = policy.member("os-server-groups:delete", "Delete a server group.")
EXTRA_RULES = [INDEX_ALL]

GroupName = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^(?! ).*(?<! )$")]


class GroupRules(Body):
    """How many members may share a host."""

    max_server_per_host: Annotated[int, msgspec.Meta(ge=1)] | None = None


class CreateServerGroup(Body):
    """A group: one policy in a list until 2.63, by itself since 2.64."""

    name: GroupName
    policies: list[str] = wire(until="2.63")
    policy: Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"] = wire(since="2.64")
    rules: GroupRules | None = since("2.64", default=None)


class ServerGroupView(View):
    """A group and its members."""

    id: str
    name: str
    members: list[str]
    policies: list[str] = until("2.63")
    metadata: dict[str, str] = until("2.63")
    policy: str = since("2.64")
    rules: dict[str, int] = since("2.64")
    project_id: str = since("2.13")
    user_id: str = since("2.13")


class ServerGroupsQuery(PageQuery):
    """Which part of the list; `all_projects` is for administrators."""

    all_projects: str | None = None
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


def view(group: ServerGroup, members: list[str]) -> ServerGroupView:
    return ServerGroupView(
        id=group.id, name=group.name, members=members, policies=[group.policy], metadata={}, policy=group.policy, rules=group.rules,
        project_id=group.project_id, user_id=group.user_id,
    )  # fmt: skip


@server_groups.get("", rule=INDEX, out="server_groups")
def index(ctx: Context, query: ServerGroupsQuery) -> Listing:
    """List server groups."""
    everyone = query.all_projects is not None and ctx.allowed(INDEX_ALL.name)
    most = ctx.program.settings.compute.max_page
    groups = operations.index(ctx, everyone=everyone, limit=min(query.limit or most, most), offset=query.offset)
    members = operations.members(ctx, groups)
    return Listing([view(group, members[group.id]) for group in groups])


@server_groups.post("", rule=CREATE, out="server_group")
def create(ctx: Context, server_group: CreateServerGroup) -> ServerGroupView:
    """Create a server group."""
    assert ctx.version is not None
    if ctx.version >= Version(2, 64):
        wanted = server_group.policy
    else:
        known = operations.POLICIES if ctx.version >= Version(2, 15) else operations.HARD
        if len(server_group.policies) != 1 or server_group.policies[0] not in known:
            raise Invalid(
                f"Invalid input for field server_group.policies: exactly one of {', '.join(known)} is expected.", field="server_group.policies"
            )
        wanted = server_group.policies[0]
    rules = {}
    if server_group.rules is not None and server_group.rules.max_server_per_host is not None:
        rules["max_server_per_host"] = server_group.rules.max_server_per_host
    if not ctx.project_id:
        raise Forbidden("A server group belongs to a project; use a token of one.")
    return view(operations.create(ctx, name=server_group.name, policy=wanted, rules=rules), [])


@server_groups.get("/{group_id}", rule=SHOW, out="server_group")
def show(ctx: Context, group_id: str) -> ServerGroupView:
    """Show a server group."""
    group = operations.get(ctx, group_id)
    return view(group, operations.members(ctx, [group])[group.id])


@server_groups.delete("/{group_id}", rule=DELETE, answers=204)
def delete(ctx: Context, group_id: str) -> None:
    """Delete a server group."""
    operations.delete(ctx, group_id)
