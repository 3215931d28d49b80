"""Users."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from pilvi.identity import options
from pilvi.identity.api.lists import Page, given, kept, listed
from pilvi.identity.api.projects_view import project_view
from pilvi.identity.dialect import root
from pilvi.identity.memory import of
from pilvi.identity.operations import users as operations
from pilvi.identity.operations.effective import scopes_of
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, see, target
from pilvi.identity.tables import Group, GroupMember, User
from pilvi.kernel import clock
from pilvi.kernel.clock import iso_micro
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

_MANAGER = f"{ADMIN} or (role:manager and domain_id:%(target.user.domain_id)s)"
_READER = f"{ADMIN_OR_SYSTEM_READER} or (role:reader and domain_id:%(target.user.domain_id)s) or user_id:%(target.user.id)s"
GET = Rule("identity:get_user", _READER, "Show a user.")
LIST = Rule("identity:list_users", f"{ADMIN_OR_SYSTEM_READER} or (role:reader and domain_id:%(target.domain_id)s)", "List users.")
LIST_PROJECTS = Rule("identity:list_user_projects", _READER, "List the projects of a user.")
LIST_GROUPS = Rule("identity:list_groups_for_user", _READER, "List the groups of a user.")
CREATE = Rule("identity:create_user", _MANAGER, "Create a user.")
UPDATE = Rule("identity:update_user", _MANAGER, "Update a user.")
DELETE = Rule("identity:delete_user", _MANAGER, "Delete a user.")

users = Resource("/v3/users")

UserName = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\S")]


class CreateUser(Body, extra=True):
    """A new user.  Other attributes are kept."""

    name: UserName
    password: str | None = None
    domain_id: str | None = None
    enabled: bool = True
    default_project_id: str | None = None
    options: dict[str, Any] = {}


class UpdateUser(Body, extra=True):
    """What is to be changed of a user."""

    name: UserName | Given = UNSET
    password: str | Given | None = UNSET
    domain_id: str | Given | None = UNSET
    enabled: bool | Given = UNSET
    default_project_id: str | Given | None = UNSET
    options: dict[str, Any] | Given = UNSET


class ChangePassword(Body, extra=True):
    """A user's own password, old and new."""

    original_password: str
    password: str


class UsersQuery(Page, extra=True):
    """Which users."""

    name: str | None = None
    domain_id: str | None = None
    enabled: str | None = None
    password_expires_at: str | None = None


def user_view(ctx: Context, row: User) -> dict[str, Any]:
    """A user."""
    expires = row.password_expires_at
    view = {
        **row.extra, "id": row.id, "name": row.name, "domain_id": row.domain_id, "enabled": row.enabled, "options": row.options,
        "password_expires_at": None if expires is None else iso_micro(expires),
        "links": {"self": f"{root(ctx.base_url)}/v3/users/{row.id}"},
    }  # fmt: skip
    if row.default_project_id is not None:
        view["default_project_id"] = row.default_project_id
    return view


def own_domain(ctx: Context) -> str:
    """The domain that a caller means who names none."""
    return ctx.caller.domain_id or ctx.caller.project_domain_id or "default"


@users.post("", rule=CREATE, answers=201, out="user", write=None, precheck=False)
def create(ctx: Context, user: CreateUser, request: Request) -> dict[str, Any]:
    """Create a user."""
    domain_id = user.domain_id or own_domain(ctx)
    ctx.allow(ctx.rule, {"target.user.domain_id": domain_id})
    memory = of(ctx.program)
    row = User(
        id=new_hex(), domain_id=domain_id, name=user.name, enabled=user.enabled, default_project_id=user.default_project_id,
        options=options.merged({}, user.options, options.USER), extra=kept(request, "user", CreateUser), created_at=clock.now(),
    )  # fmt: skip
    hashed = _hashed(ctx, user.password)
    return user_view(ctx, ctx.program.db.run(lambda tx: operations.add(tx, memory, row, hashed)))


@users.get("", rule=LIST, out="users", precheck=False)
def index(ctx: Context, query: UsersQuery, request: Request) -> Listing:
    """List users."""
    ctx.allow(ctx.rule, target(**{"target.domain_id": query.domain_id or ctx.caller.domain_id or None}))
    where = [User.c.domain_id == ctx.caller.domain_id] if ctx.caller.domain_id else []
    if query.password_expires_at is not None:
        where.append(_expiring(query.password_expires_at))
        request.query[:] = [pair for pair in request.query if pair[0] != "password_expires_at"]
    return listed(ctx, request, query, User, *where, view=user_view)


@users.get("/{user_id}", rule=GET, out="user", precheck=False)
def show(ctx: Context, user_id: str) -> dict[str, Any]:
    """Show a user."""
    return user_view(ctx, see(ctx, ctx.db.get(User, user_id), "User", user_id))


@users.patch("/{user_id}", rule=UPDATE, out="user", write=None, precheck=False)
def update(ctx: Context, user_id: str, user: UpdateUser, request: Request) -> dict[str, Any]:
    """Change a user."""
    memory = of(ctx.program)
    with ctx.program.db.transaction(write=False) as tx:
        row = see(ctx, tx.get(User, user_id), "User", user_id)
    if user.domain_id not in (UNSET, row.domain_id):
        raise Invalid("A user's domain cannot be changed.", field="domain_id")
    names = [name for name in ("name", "enabled", "default_project_id") if getattr(user, name) is not UNSET]
    extra = kept(request, "user", UpdateUser)
    hashed = _hashed(ctx, user.password or None)

    def write(tx: Transaction) -> User:
        row = see(ctx, tx.get_to_change(User, user_id), "User", user_id)
        options.may_change("user", row.options, given(request, "user"))
        changes: dict[str, Any] = {name: getattr(user, name) for name in names}
        if user.options is not UNSET:
            changes["options"] = options.merged(row.options, user.options, options.USER)
        if extra:
            changes["extra"] = row.extra | extra
        return operations.alter(tx, memory, row, changes, hashed)

    return user_view(ctx, ctx.program.db.run(write))


@users.delete("/{user_id}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, user_id: str) -> None:
    """Delete a user and what is theirs."""
    row = see(ctx, ctx.db.get_to_change(User, user_id), "User", user_id)
    options.may_delete("user", row.options)
    operations.remove(ctx, row)


@users.post("/{user_id}/password", rule=None, answers=204, write=None)
def change_password(ctx: Context, user_id: str, user: ChangePassword) -> None:
    """Change one's own password; the old one is the right to do so."""
    operations.change_own_password(of(ctx.program), user_id, user.original_password, user.password, ctx.address)


@users.get("/{user_id}/projects", rule=LIST_PROJECTS, out="projects", precheck=False)
def projects(ctx: Context, user_id: str) -> Listing:
    """List the projects where a user has any role."""
    see(ctx, ctx.db.get(User, user_id), "User", user_id)
    return Listing([project_view(ctx, one) for one in scopes_of(ctx.db, user_id)[0]])


@users.get("/{user_id}/groups", rule=LIST_GROUPS, out="groups", precheck=False)
def groups(ctx: Context, user_id: str, request: Request) -> Listing:
    """List the groups that a user is in."""
    from pilvi.identity.api.groups import group_view

    see(ctx, ctx.db.get(User, user_id), "User", user_id)
    members = ctx.db.all(GroupMember, GroupMember.c.user_id == user_id)
    names = {value for key, value in request.query if key == "name"}
    rows = ctx.db.by(Group, Group.c.id, [one.group_id for one in members])
    return Listing([group_view(ctx, row) for row in rows if not names or row.name in names])


def _hashed(ctx: Context, password: str | None) -> str | None:
    """The hash of a password that an administrator sets; takes its time, so no transaction may be open."""
    if password is None:
        return None
    hasher = of(ctx.program).hasher
    hasher.accept(password)
    return hasher.hash(password)


def _expiring(text: str) -> Any:
    """The condition of password_expires_at=lt:2026-11-20T00:00:00Z."""
    match = re.match(r"\A(?:(lt|lte|gt|gte|eq|neq):)?(.+)\Z", text)
    assert match is not None or not text
    if match is None:
        raise Invalid("password_expires_at needs a moment, such as lt:2026-11-20T00:00:00Z.", field="password_expires_at")
    column, moment = User.c.password_expires_at, clock.parse(match[2], "password_expires_at")
    compare = {
        "lt": column < moment, "lte": column <= moment, "gt": column > moment, "gte": column >= moment,
        "eq": column == moment, "neq": column != moment,
    }  # fmt: skip
    return compare[match[1] or "eq"]
