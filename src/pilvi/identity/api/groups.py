"""Groups and who is in them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi.identity.api.lists import Page, kept, listed
from pilvi.identity.api.users import own_domain, user_view
from pilvi.identity.dialect import root
from pilvi.identity.operations.users import need_domain
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, see, target
from pilvi.identity.tables import Assignment, Group, GroupMember, User
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

_MANAGER = f"{ADMIN} or (role:manager and domain_id:%(target.group.domain_id)s)"
_READER = f"{ADMIN_OR_SYSTEM_READER} or (role:reader and domain_id:%(target.group.domain_id)s)"
_MEMBERSHIP = "domain_id:%(target.group.domain_id)s and domain_id:%(target.user.domain_id)s"
GET = Rule("identity:get_group", _READER, "Show a group.")
LIST = Rule("identity:list_groups", f"{ADMIN_OR_SYSTEM_READER} or (role:reader and domain_id:%(target.domain_id)s)", "List groups.")
CREATE = Rule("identity:create_group", _MANAGER, "Create a group.")
UPDATE = Rule("identity:update_group", _MANAGER, "Update a group.")
DELETE = Rule("identity:delete_group", _MANAGER, "Delete a group.")
MEMBERS = Rule("identity:list_users_in_group", _READER, "List who is in a group.")
ADD = Rule("identity:add_user_to_group", f"{ADMIN} or (role:manager and {_MEMBERSHIP})", "Put a user into a group.")
CHECK = Rule("identity:check_user_in_group", f"{ADMIN_OR_SYSTEM_READER} or (role:reader and {_MEMBERSHIP})", "Check whether a user is in a group.")
TAKE = Rule("identity:remove_user_from_group", f"{ADMIN} or (role:manager and {_MEMBERSHIP})", "Take a user out of a group.")

groups = Resource("/v3/groups")

GroupName = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\S")]


class CreateGroup(Body, extra=True):
    """A new group.  Other attributes are kept."""

    name: GroupName
    domain_id: str | None = None
    description: str | None = None


class UpdateGroup(Body, extra=True):
    """What is to be changed of a group."""

    name: GroupName | Given = UNSET
    domain_id: str | Given | None = UNSET
    description: str | Given | None = UNSET


class GroupsQuery(Page, extra=True):
    """Which groups."""

    name: str | None = None
    domain_id: str | None = None


class MembersQuery(Page, extra=True):
    """Which of a group's users."""

    name: str | None = None
    enabled: str | None = None


def group_view(ctx: Context, row: Group) -> dict[str, Any]:
    """A group."""
    return {
        **row.extra, "id": row.id, "name": row.name, "domain_id": row.domain_id, "description": row.description,
        "links": {"self": f"{root(ctx.base_url)}/v3/groups/{row.id}"},
    }  # fmt: skip


@groups.post("", rule=CREATE, answers=201, out="group", precheck=False)
def create(ctx: Context, group: CreateGroup, request: Request) -> dict[str, Any]:
    """Create a group."""
    domain_id = group.domain_id or own_domain(ctx)
    ctx.allow(ctx.rule, {"target.group.domain_id": domain_id})
    need_domain(ctx.db, domain_id)
    row = Group(id=new_hex(), domain_id=domain_id, name=group.name, description=group.description or "", extra=kept(request, "group", CreateGroup))
    _refuse_same_name(ctx, row)
    return group_view(ctx, ctx.db.insert(row))


@groups.get("", rule=LIST, out="groups", precheck=False)
def index(ctx: Context, query: GroupsQuery, request: Request) -> Listing:
    """List groups."""
    ctx.allow(ctx.rule, target(**{"target.domain_id": query.domain_id or ctx.caller.domain_id or None}))
    where = [Group.c.domain_id == ctx.caller.domain_id] if ctx.caller.domain_id else []
    return listed(ctx, request, query, Group, *where, view=group_view)


@groups.get("/{group_id}", rule=GET, out="group", precheck=False)
def show(ctx: Context, group_id: str) -> dict[str, Any]:
    """Show a group."""
    return group_view(ctx, see(ctx, ctx.db.get(Group, group_id), "Group", group_id))


@groups.patch("/{group_id}", rule=UPDATE, out="group", precheck=False)
def update(ctx: Context, group_id: str, group: UpdateGroup, request: Request) -> dict[str, Any]:
    """Change a group."""
    row = see(ctx, ctx.db.get_to_change(Group, group_id), "Group", group_id)
    if group.domain_id not in (UNSET, row.domain_id):
        raise Invalid("A group's domain cannot be changed.", field="domain_id")
    changes: dict[str, Any] = {"extra": row.extra | kept(request, "group", UpdateGroup)}
    if group.name is not UNSET:
        _refuse_same_name(ctx, Group(id=row.id, domain_id=row.domain_id, name=str(group.name)))
        changes["name"] = group.name
    if group.description is not UNSET:
        changes["description"] = group.description or ""
    return group_view(ctx, ctx.db.change(row, **changes))


@groups.delete("/{group_id}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, group_id: str) -> None:
    """Delete a group; its users lose the roles that it held."""
    row = see(ctx, ctx.db.get_to_change(Group, group_id), "Group", group_id)
    ctx.db.delete(GroupMember, GroupMember.c.group_id == group_id)
    ctx.db.delete(Assignment, Assignment.c.actor_id == group_id)
    ctx.db.remove(row)


@groups.get("/{group_id}/users", rule=MEMBERS, out="users", precheck=False)
def members(ctx: Context, group_id: str, query: MembersQuery, request: Request) -> Listing:
    """List who is in a group."""
    import sqlalchemy as sa

    see(ctx, ctx.db.get(Group, group_id), "Group", group_id)
    inside = User.c.id.in_(sa.select(GroupMember.c.user_id).where(GroupMember.c.group_id == group_id))
    return listed(ctx, request, query, User, inside, view=user_view)


@groups.put("/{group_id}/users/{user_id}", rule=ADD, answers=204, precheck=False)
def add(ctx: Context, group_id: str, user_id: str) -> None:
    """Put a user into a group."""
    _both(ctx, group_id, user_id)
    ctx.db.put(GroupMember(group_id=group_id, user_id=user_id))


@groups.get("/{group_id}/users/{user_id}", rule=CHECK, answers=204, precheck=False)
def check(ctx: Context, group_id: str, user_id: str) -> None:
    """Check whether a user is in a group."""
    _both(ctx, group_id, user_id)
    if ctx.db.get(GroupMember, group_id, user_id) is None:
        raise NotFound(f"User {user_id} is not in group {group_id}.")


@groups.delete("/{group_id}/users/{user_id}", rule=TAKE, answers=204, precheck=False)
def take(ctx: Context, group_id: str, user_id: str) -> None:
    """Take a user out of a group."""
    _both(ctx, group_id, user_id)
    if not ctx.db.delete(GroupMember, GroupMember.c.group_id == group_id, GroupMember.c.user_id == user_id):
        raise NotFound(f"User {user_id} is not in group {group_id}.")


def _both(ctx: Context, group_id: str, user_id: str) -> None:
    """Raise unless group and user are there and the caller may."""
    user = ctx.db.get_to_build_on(User, user_id)
    see(ctx, ctx.db.get_to_build_on(Group, group_id), "Group", group_id, user=user)
    if user is None:
        raise NotFound(f"User {user_id} could not be found.")


def _refuse_same_name(ctx: Context, group: Group) -> None:
    if ctx.db.one(Group, Group.c.domain_id == group.domain_id, Group.c.name == group.name, Group.c.id != group.id) is not None:
        raise Conflict(f"There is a group of the name {group.name} in this domain already.")
