"""Trusts."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi.identity.api.application_credentials import RoleName, refuse_restricted
from pilvi.identity.api.lists import kept
from pilvi.identity.api.roles import brief
from pilvi.identity.dialect import root
from pilvi.identity.operations import trusts as operations
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER
from pilvi.identity.tables import Role, Trust
from pilvi.kernel import clock
from pilvi.kernel.clock import iso_micro_z
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Body, Listing, Query, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

_TRUSTOR, _TRUSTEE = "user_id:%(target.trust.trustor_user_id)s", "user_id:%(target.trust.trustee_user_id)s"
_EITHER = f"{ADMIN_OR_SYSTEM_READER} or {_TRUSTOR} or {_TRUSTEE}"
CREATE = Rule("identity:create_trust", _TRUSTOR, "Create a trust.")
LIST = Rule("identity:list_trusts", ADMIN_OR_SYSTEM_READER, "List all trusts.")
LIST_TRUSTOR = Rule("identity:list_trusts_for_trustor", f"{ADMIN_OR_SYSTEM_READER} or {_TRUSTOR}", "List the trusts that a user made.")
LIST_TRUSTEE = Rule("identity:list_trusts_for_trustee", f"{ADMIN_OR_SYSTEM_READER} or {_TRUSTEE}", "List the trusts made for a user.")
GET = Rule("identity:get_trust", _EITHER, "Show a trust.")
DELETE = Rule("identity:delete_trust", f"{ADMIN} or {_TRUSTOR}", "Delete a trust.")
LIST_ROLES = Rule("identity:list_roles_for_trust", _EITHER, "List the roles that a trust lends.")
GET_ROLE = Rule("identity:get_role_for_trust", _EITHER, "Show a role that a trust lends.")
RULES = [LIST_TRUSTOR, LIST_TRUSTEE]

trusts = Resource("/v3/OS-TRUST/trusts")


class CreateTrust(Body, extra=True):
    """A new trust.  Other attributes are kept."""

    trustor_user_id: str
    trustee_user_id: str
    impersonation: bool
    project_id: str | None = None
    expires_at: str | None = None
    remaining_uses: Annotated[int, msgspec.Meta(ge=1)] | None = None
    allow_redelegation: bool | None = None
    redelegation_count: Annotated[int, msgspec.Meta(ge=0)] | None = None
    roles: list[RoleName] = []


class TrustsQuery(Query, extra=True):
    """Whose trusts."""

    trustor_user_id: str | None = None
    trustee_user_id: str | None = None


def summary(ctx: Context, row: Trust) -> dict[str, Any]:
    """A trust as it stands in lists."""
    return {
        **row.extra, "id": row.id, "trustor_user_id": row.trustor_user_id, "trustee_user_id": row.trustee_user_id,
        "project_id": row.project_id, "impersonation": row.impersonation, "remaining_uses": row.remaining_uses,
        "expires_at": None if row.expires_at is None else iso_micro_z(row.expires_at),
        "deleted_at": None if row.deleted_at is None else iso_micro_z(row.deleted_at),
        "redelegated_trust_id": row.redelegated_trust_id, "redelegation_count": row.redelegation_count,
        "links": {"self": f"{root(ctx.base_url)}/v3/OS-TRUST/trusts/{row.id}"},
    }  # fmt: skip


def trust_view(ctx: Context, row: Trust) -> dict[str, Any]:
    """A trust with its roles."""
    links = {"self": f"{root(ctx.base_url)}/v3/OS-TRUST/trusts/{row.id}/roles", "next": None, "previous": None}
    return {**summary(ctx, row), "roles": [brief(ctx, role) for role in _roles(ctx, row)], "roles_links": links}


@trusts.post("", rule=CREATE, answers=201, out="trust", precheck=False)
def create(ctx: Context, trust: CreateTrust, request: Request) -> dict[str, Any]:
    """Lend roles to another user."""
    ctx.allow(ctx.rule, {"target.trust.trustor_user_id": trust.trustor_user_id})
    refuse_restricted(ctx, ctx.db)
    expires_at = clock.parse(trust.expires_at, "expires_at") if trust.expires_at is not None else None
    if expires_at is not None and expires_at <= clock.now():
        raise Invalid("expires_at must lie in the future.", field="expires_at")
    row = Trust(
        id=new_hex(), trustor_user_id=trust.trustor_user_id, trustee_user_id=trust.trustee_user_id, project_id=trust.project_id,
        impersonation=trust.impersonation, expires_at=expires_at, remaining_uses=trust.remaining_uses,
        extra=kept(request, "trust", CreateTrust),
    )  # fmt: skip
    pairs = [(one.id, one.name) for one in trust.roles]
    operations.add(ctx, row, pairs, redelegable=bool(trust.allow_redelegation), redelegations=trust.redelegation_count)
    return trust_view(ctx, row)


@trusts.get("", rule=LIST, out="trusts", precheck=False)
def index(ctx: Context, query: TrustsQuery) -> Listing:
    """List trusts: all, or those of a trustor or a trustee."""
    where: list[Any] = []
    if query.trustor_user_id is None and query.trustee_user_id is None:
        ctx.allow(ctx.rule, {})
    if query.trustor_user_id is not None:
        ctx.allow(LIST_TRUSTOR.name, {"target.trust.trustor_user_id": query.trustor_user_id})
        where.append(Trust.c.trustor_user_id == query.trustor_user_id)
    if query.trustee_user_id is not None:
        ctx.allow(LIST_TRUSTEE.name, {"target.trust.trustee_user_id": query.trustee_user_id})
        where.append(Trust.c.trustee_user_id == query.trustee_user_id)
    return Listing([summary(ctx, row) for row in operations.living(ctx, *where)])


@trusts.get("/{trust_id}", rule=GET, out="trust", precheck=False)
def show(ctx: Context, trust_id: str) -> dict[str, Any]:
    """Show a trust."""
    return trust_view(ctx, _trust(ctx, trust_id))


@trusts.delete("/{trust_id}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, trust_id: str) -> None:
    """End a trust; the roles are lent no more."""
    row = _trust(ctx, trust_id)
    refuse_restricted(ctx, ctx.db)
    operations.remove(ctx, row)


@trusts.get("/{trust_id}/roles", rule=LIST_ROLES, out="roles", precheck=False)
def roles(ctx: Context, trust_id: str) -> Listing:
    """List the roles that a trust lends."""
    return Listing([brief(ctx, role) for role in _roles(ctx, _trust(ctx, trust_id))])


@trusts.get("/{trust_id}/roles/{role_id}", rule=GET_ROLE, out="role", precheck=False)
def show_role(ctx: Context, trust_id: str, role_id: str) -> dict[str, Any]:
    """Show a role that a trust lends."""
    found = [role for role in _roles(ctx, _trust(ctx, trust_id)) if role.id == role_id]
    if not found:
        raise NotFound(f"Trust {trust_id} does not lend role {role_id}.")
    return brief(ctx, found[0])


def _trust(ctx: Context, trust_id: str) -> Trust:
    row = operations.find(ctx, trust_id)
    if row is None:
        raise NotFound(f"Trust {trust_id} could not be found.")
    ctx.allow(ctx.rule, {"target.trust.trustor_user_id": row.trustor_user_id, "target.trust.trustee_user_id": row.trustee_user_id})
    return row


def _roles(ctx: Context, row: Trust) -> list[Role]:
    return ctx.db.by(Role, Role.c.id, row.roles)
