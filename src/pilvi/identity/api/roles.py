"""Roles, and which of them imply others."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi.identity import options
from pilvi.identity.api.lists import Page, given, kept, listed
from pilvi.identity.dialect import root
from pilvi.identity.operations.projects import forget_role
from pilvi.identity.operations.users import need_domain
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, need
from pilvi.identity.tables import Role, RoleImplication
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from pilvi.kernel.http import UNSET, Answer, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

_READER = f"{ADMIN_OR_SYSTEM_READER} or (role:manager and not domain_id:None)"
GET = Rule("identity:get_role", _READER, "Show a role.")
LIST = Rule("identity:list_roles", _READER, "List roles.")
CREATE = Rule("identity:create_role", ADMIN, "Create a role.")
UPDATE = Rule("identity:update_role", ADMIN, "Update a role.")
DELETE = Rule("identity:delete_role", ADMIN, "Delete a role.")
GET_IMPLIED = Rule("identity:get_implied_role", ADMIN_OR_SYSTEM_READER, "Show that a role implies another.")
LIST_IMPLIED = Rule("identity:list_implied_roles", ADMIN_OR_SYSTEM_READER, "List the roles that a role implies.")
CREATE_IMPLIED = Rule("identity:create_implied_role", ADMIN, "Have a role imply another.")
DELETE_IMPLIED = Rule("identity:delete_implied_role", ADMIN, "Have a role imply another no more.")
LIST_INFERENCES = Rule("identity:list_role_inference_rules", ADMIN_OR_SYSTEM_READER, "List all implications.")
CHECK_IMPLIED = Rule("identity:check_implied_role", ADMIN_OR_SYSTEM_READER, "Check that a role implies another.")
# the rights to the roles of a domain
DOMAIN_RULES = [
    Rule("identity:get_domain_role", ADMIN_OR_SYSTEM_READER, "Show a role of a domain."),
    Rule("identity:list_domain_roles", ADMIN_OR_SYSTEM_READER, "List the roles of a domain."),
    Rule("identity:create_domain_role", ADMIN, "Create a role of a domain."),
    Rule("identity:update_domain_role", ADMIN, "Update a role of a domain."),
    Rule("identity:delete_domain_role", ADMIN, "Delete a role of a domain."),
]

roles = Resource("/v3/roles")
inferences = Resource("/v3/role_inferences")

RoleName = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\S")]


class CreateRole(Body, extra=True):
    """A new role.  Other attributes are kept."""

    name: RoleName
    domain_id: str | None = None
    description: str | None = None
    options: dict[str, Any] = {}


class UpdateRole(Body, extra=True):
    """What is to be changed of a role."""

    name: RoleName | Given = UNSET
    domain_id: str | Given | None = UNSET
    description: str | Given | None = UNSET
    options: dict[str, Any] | Given = UNSET


class RolesQuery(Page, extra=True):
    """Which roles; without a domain, those of none."""

    name: str | None = None
    domain_id: str | None = None


def role_view(ctx: Context, row: Role) -> dict[str, Any]:
    """A role."""
    return {
        **row.extra, "id": row.id, "name": row.name, "domain_id": row.domain_id or None, "description": row.description,
        "options": row.options, "links": {"self": f"{root(ctx.base_url)}/v3/roles/{row.id}"},
    }  # fmt: skip


@roles.post("", rule=CREATE, answers=201, out="role", precheck=False)
def create(ctx: Context, role: CreateRole, request: Request) -> dict[str, Any]:
    """Create a role."""
    ctx.allow(_rule("create", role.domain_id))
    if role.domain_id is not None:
        need_domain(ctx.db, role.domain_id)
    row = Role(
        id=new_hex(), domain_id=role.domain_id or "", name=role.name, description=role.description,
        options=options.merged({}, role.options, options.ROLE), extra=kept(request, "role", CreateRole),
    )  # fmt: skip
    _refuse_same_name(ctx, row)
    return role_view(ctx, ctx.db.insert(row))


@roles.get("", rule=LIST, out="roles", precheck=False)
def index(ctx: Context, query: RolesQuery, request: Request) -> Listing:
    """List roles."""
    ctx.allow("identity:list_domain_roles" if query.domain_id else ctx.rule)
    where = [] if query.domain_id else [Role.c.domain_id == ""]
    return listed(ctx, request, query, Role, *where, view=role_view)


@roles.get("/{role_id}", rule=GET, out="role", precheck=False)
def show(ctx: Context, role_id: str) -> dict[str, Any]:
    """Show a role."""
    return role_view(ctx, _role(ctx, role_id, "get"))


@roles.patch("/{role_id}", rule=UPDATE, out="role", precheck=False)
def update(ctx: Context, role_id: str, role: UpdateRole, request: Request) -> dict[str, Any]:
    """Change a role."""
    row = _role(ctx, role_id, "update")
    options.may_change("role", row.options, given(request, "role"))
    if role.domain_id not in (UNSET, row.domain_id or None):
        raise Invalid("A role's domain cannot be changed.", field="domain_id")
    changes: dict[str, Any] = {"extra": row.extra | kept(request, "role", UpdateRole)}
    if role.name is not UNSET:
        _refuse_same_name(ctx, Role(id=row.id, domain_id=row.domain_id, name=str(role.name)))
        changes["name"] = role.name
    if role.description is not UNSET:
        changes["description"] = role.description
    if role.options is not UNSET:
        changes["options"] = options.merged(row.options, role.options, options.ROLE)
    return role_view(ctx, ctx.db.change(row, **changes))


@roles.delete("/{role_id}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, role_id: str) -> None:
    """Delete a role; nobody holds it any more."""
    row = _role(ctx, role_id, "delete")
    options.may_delete("role", row.options)
    forget_role(ctx.db, row)


@roles.get("/{role_id}/implies", rule=LIST_IMPLIED, out="role_inference")
def implies(ctx: Context, role_id: str) -> dict[str, Any]:
    """List the roles that a role implies."""
    prior = need_role(ctx, role_id)
    ids = [one.implied_id for one in ctx.db.all(RoleImplication, RoleImplication.c.prior_id == role_id)]
    return {"prior_role": brief(ctx, prior), "implies": [brief(ctx, one) for one in ctx.db.by(Role, Role.c.id, ids)]}


@roles.put("/{role_id}/implies/{implied_id}", rule=CREATE_IMPLIED, answers=201)
def imply(ctx: Context, role_id: str, implied_id: str) -> Answer:
    """Have a role imply another."""
    known = {one.id: one for one in ctx.db.lock_all(Role)}  # one after the other: two at once might close a circle
    prior, implied = need(known.get(role_id), "Role", role_id), need(known.get(implied_id), "Role", implied_id)
    if implied.domain_id and not prior.domain_id:
        raise Forbidden("A role of a domain can only be implied by roles of domains.")
    if implied.name == "admin":
        raise Forbidden("The role admin cannot be implied by another.")
    if _leads_to(ctx, implied_id, role_id):
        raise Invalid("A role cannot imply itself, neither directly nor by others.", field="implied_role_id")
    ctx.db.put(RoleImplication(prior_id=role_id, implied_id=implied_id))
    return Answer(201, _inference(ctx, prior, implied))


@roles.get("/{role_id}/implies/{implied_id}", rule=GET_IMPLIED)
def show_implied(ctx: Context, role_id: str, implied_id: str) -> dict[str, Any]:
    """Show that a role implies another."""
    _need_implication(ctx, role_id, implied_id)
    return _inference(ctx, need_role(ctx, role_id), need_role(ctx, implied_id))


@roles.head("/{role_id}/implies/{implied_id}", rule=CHECK_IMPLIED, answers=204)
def check_implied(ctx: Context, role_id: str, implied_id: str) -> None:
    """Check that a role implies another."""
    _need_implication(ctx, role_id, implied_id)


@roles.delete("/{role_id}/implies/{implied_id}", rule=DELETE_IMPLIED, answers=204)
def imply_no_more(ctx: Context, role_id: str, implied_id: str) -> None:
    """Have a role imply another no more."""
    ctx.db.remove(_need_implication(ctx, role_id, implied_id))


@inferences.get("", rule=LIST_INFERENCES, out="role_inferences")
def list_inferences(ctx: Context) -> Listing:
    """List all implications."""
    known = {role.id: role for role in ctx.db.all(Role)}
    implied: dict[str, list[Role]] = {}
    for one in ctx.db.all(RoleImplication):
        implied.setdefault(one.prior_id, []).append(known[one.implied_id])
    return Listing([{"prior_role": brief(ctx, known[prior]), "implies": [brief(ctx, one) for one in those]} for prior, those in implied.items()])


def brief(ctx: Context, role: Role) -> dict[str, Any]:
    """A role as it stands within something else."""
    return {"id": role.id, "name": role.name, "links": {"self": f"{root(ctx.base_url)}/v3/roles/{role.id}"}}


def need_role(ctx: Context, role_id: str) -> Role:
    """The role of that id; raises NotFound."""
    return need(ctx.db.get(Role, role_id), "Role", role_id)


def _rule(verb: str, domain_id: str | None) -> str:
    return f"identity:{verb}_domain_role" if domain_id else f"identity:{verb}_role"


def _role(ctx: Context, role_id: str, verb: str) -> Role:
    row = ctx.db.get_to_change(Role, role_id)
    ctx.allow(_rule(verb, row.domain_id if row is not None else None))
    return need(row, "Role", role_id)


def _inference(ctx: Context, prior: Role, implied: Role) -> dict[str, Any]:
    link = f"{root(ctx.base_url)}/v3/roles/{prior.id}/implies/{implied.id}"
    return {"role_inference": {"prior_role": brief(ctx, prior), "implies": brief(ctx, implied)}, "links": {"self": link}}


def _need_implication(ctx: Context, role_id: str, implied_id: str) -> RoleImplication:
    row = ctx.db.get(RoleImplication, role_id, implied_id)
    if row is None:
        raise NotFound(f"Role {role_id} does not imply {implied_id}.")
    return row


def _leads_to(ctx: Context, start: str, end: str) -> bool:
    """Whether a role is, or implies, another."""
    direct: dict[str, list[str]] = {}
    for one in ctx.db.all(RoleImplication):
        direct.setdefault(one.prior_id, []).append(one.implied_id)
    reached, waiting = {start}, [start]
    while waiting:
        for further in direct.get(waiting.pop(), ()):
            if further not in reached:
                reached.add(further)
                waiting.append(further)
    return end in reached


def _refuse_same_name(ctx: Context, role: Role) -> None:
    if ctx.db.one(Role, Role.c.domain_id == role.domain_id, Role.c.name == role.name, Role.c.id != role.id) is not None:
        raise Conflict(f"There is a role of the name {role.name} already.")
