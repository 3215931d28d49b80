"""Application credentials, and the access rules that narrow them."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import msgspec

from pilvi.identity.dialect import root
from pilvi.identity.memory import of
from pilvi.identity.operations.effective import role_graph
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, need
from pilvi.identity.tables import AccessRule, ApplicationCredential, Credential, Project, Role, User
from pilvi.kernel import clock
from pilvi.kernel.clock import iso_micro
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from pilvi.kernel.http import Body, Listing, Query, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

_READER = f"{ADMIN_OR_SYSTEM_READER} or rule:owner"
GET = Rule("identity:get_application_credential", _READER, "Show an application credential.")
LIST = Rule("identity:list_application_credentials", _READER, "List application credentials.")
CREATE = Rule("identity:create_application_credential", "rule:owner", "Create an application credential.")
DELETE = Rule("identity:delete_application_credential", f"{ADMIN} or rule:owner", "Delete an application credential.")
GET_RULE = Rule("identity:get_access_rule", _READER, "Show an access rule.")
LIST_RULES = Rule("identity:list_access_rules", _READER, "List access rules.")
DELETE_RULE = Rule("identity:delete_access_rule", f"{ADMIN} or rule:owner", "Delete an access rule.")

applications = Resource("/v3/users/{user_id}/application_credentials")
access_rules = Resource("/v3/users/{user_id}/access_rules")


class RoleName(Body, extra=True):
    """A role by id, or by name."""

    id: str | None = None
    name: str | None = None


class NewAccessRule(Body):
    """A call that is allowed, or the id of a rule that is there."""

    id: str | None = None
    service: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    path: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^/")] | None = None
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] | None = None


class CreateApplicationCredential(Body, extra=True):
    """A new application credential, for the project of the caller's token."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    description: str | None = None
    secret: str | None = None
    expires_at: str | None = None
    roles: list[RoleName] | None = None
    unrestricted: bool | None = None
    access_rules: list[NewAccessRule] | None = None


class NameQuery(Query, extra=True):
    name: str | None = None


def application_view(ctx: Context, tx: Transaction, row: ApplicationCredential) -> dict[str, Any]:
    """An application credential, without its secret."""
    graph = role_graph(tx, of(ctx.program).recall)
    roles = [graph.roles[one] for one in row.roles if one in graph.roles]
    view: dict[str, Any] = {
        "id": row.id, "name": row.name, "description": row.description, "project_id": row.project_id, "unrestricted": row.unrestricted,
        "roles": [{"id": role.id, "name": role.name, "domain_id": role.domain_id or None} for role in roles],
        "expires_at": None if row.expires_at is None else iso_micro(row.expires_at), "system": None,
        "links": {"self": f"{root(ctx.base_url)}/v3/users/{row.user_id}/application_credentials/{row.id}"},
    }  # fmt: skip
    if row.access_rules is not None:
        view["access_rules"] = [_plain(one) for one in tx.by(AccessRule, AccessRule.c.id, row.access_rules)]
    return view


def refuse_restricted(ctx: Context, tx: Transaction) -> None:
    """Raise Forbidden for a caller by an application credential that may not make or delete others' rights."""
    if ctx.caller.application_credential_id:
        row = tx.get(ApplicationCredential, ctx.caller.application_credential_id)
        if row is None or not row.unrestricted:
            raise Forbidden("A restricted application credential may not be used for this.")


@applications.post("", rule=CREATE, answers=201, out="application_credential", write=None, precheck=False)
def create(ctx: Context, user_id: str, application_credential: CreateApplicationCredential) -> dict[str, Any]:
    """Create an application credential; its secret is told this once."""
    wanted = application_credential
    ctx.allow(ctx.rule, {"user_id": user_id})
    if not ctx.project_id:
        raise Invalid("An application credential is for a project: use a token that is for one.")
    expires_at = clock.parse(wanted.expires_at, "expires_at") if wanted.expires_at is not None else None
    if expires_at is not None and expires_at <= clock.now():
        raise Invalid("expires_at must lie in the future.", field="expires_at")
    secret = wanted.secret or secrets.token_urlsafe(64)
    hashed = of(ctx.program).hasher.hash(secret)

    def write(tx: Transaction) -> dict[str, Any]:
        refuse_restricted(ctx, tx)
        need(tx.get_to_build_on(Project, ctx.project_id), "Project", ctx.project_id)
        need(tx.get_to_change(User, user_id), "User", user_id)  # what access rules a user has is changed by one at a time
        same = (ApplicationCredential.c.user_id == user_id, ApplicationCredential.c.name == wanted.name)
        if tx.one(ApplicationCredential, *same) is not None:
            raise Conflict(f"There is an application credential of the name {wanted.name} already.")
        row = ApplicationCredential(
            id=new_hex(), user_id=user_id, project_id=ctx.project_id, name=wanted.name, description=wanted.description, secret_hash=hashed,
            expires_at=expires_at, unrestricted=bool(wanted.unrestricted), roles=_roles(ctx, tx, wanted.roles),
            # clients send an empty list when they mean no narrowing
            access_rules=_rules(tx, user_id, wanted.access_rules) if wanted.access_rules else None, created_at=clock.now(),
        )  # fmt: skip
        return application_view(ctx, tx, tx.insert(row))

    return {**ctx.program.db.run(write), "secret": secret}


@applications.get("", rule=LIST, out="application_credentials", precheck=False)
def index(ctx: Context, user_id: str, query: NameQuery) -> Listing:
    """List a user's application credentials."""
    ctx.allow(ctx.rule, {"user_id": user_id})
    where = [ApplicationCredential.c.name == query.name] if query.name is not None else []
    rows = ctx.db.all(ApplicationCredential, ApplicationCredential.c.user_id == user_id, *where, order=[ApplicationCredential.c.name])
    return Listing([application_view(ctx, ctx.db, row) for row in rows])


@applications.get("/{application_id}", rule=GET, out="application_credential", precheck=False)
def show(ctx: Context, user_id: str, application_id: str) -> dict[str, Any]:
    """Show an application credential."""
    return application_view(ctx, ctx.db, _application(ctx, user_id, application_id))


@applications.delete("/{application_id}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, user_id: str, application_id: str) -> None:
    """Delete an application credential; its tokens are void."""
    row = _application(ctx, user_id, application_id)
    refuse_restricted(ctx, ctx.db)
    need(ctx.db.get_to_change(ApplicationCredential, application_id), "Application credential", application_id)
    ctx.db.delete(Credential, Credential.c.application_credential_id == application_id)
    ctx.db.remove(row)


@access_rules.get("", rule=LIST_RULES, out="access_rules", precheck=False)
def list_rules(ctx: Context, user_id: str) -> Listing:
    """List a user's access rules."""
    ctx.allow(ctx.rule, {"user_id": user_id})
    return Listing([_rule_view(ctx, row) for row in ctx.db.all(AccessRule, AccessRule.c.user_id == user_id)])


@access_rules.get("/{rule_id}", rule=GET_RULE, out="access_rule", precheck=False)
def show_rule(ctx: Context, user_id: str, rule_id: str) -> dict[str, Any]:
    """Show an access rule."""
    return _rule_view(ctx, _rule(ctx, user_id, rule_id))


@access_rules.delete("/{rule_id}", rule=DELETE_RULE, answers=204, precheck=False)
def delete_rule(ctx: Context, user_id: str, rule_id: str) -> None:
    """Delete an access rule that no application credential uses."""
    ctx.db.get_to_change(User, user_id)
    row = _rule(ctx, user_id, rule_id)
    if any(rule_id in (one.access_rules or ()) for one in ctx.db.all(ApplicationCredential, ApplicationCredential.c.user_id == user_id)):
        raise Forbidden("The access rule cannot be deleted as long as an application credential uses it.")
    ctx.db.remove(row)


def _roles(ctx: Context, tx: Transaction, wanted: list[RoleName] | None) -> list[str]:
    """Ids of the roles that are lent: those of the token, or some of them."""
    held = {role.name: role for role in tx.all(Role, Role.c.domain_id == "") if role.name in ctx.caller.roles}
    if not wanted:
        return [role.id for role in held.values()]
    by_id = {role.id: role for role in held.values()}
    found: list[str] = []
    for one in wanted:
        role = by_id.get(one.id) if one.id is not None else held.get(one.name or "")
        if role is None:
            raise Invalid("An application credential can only have roles that the caller has in this project.", field="roles")
        found.append(role.id)
    return found


def _rules(tx: Transaction, user_id: str, wanted: list[NewAccessRule]) -> list[str]:
    """Ids of the access rules, made where there was none like it."""
    found: list[str] = []
    for one in wanted:
        if one.id is not None:
            row = tx.get(AccessRule, one.id)
            if row is None or row.user_id != user_id:
                raise NotFound(f"Access rule {one.id} could not be found.")
        elif one.service is None or one.path is None or one.method is None:
            raise Invalid("An access rule needs service, path and method.", field="access_rules")
        else:
            same = {"user_id": user_id, "service": one.service, "path": one.path, "method": one.method}
            row = tx.one(AccessRule, *(AccessRule.c[name] == value for name, value in same.items()))
            row = row or tx.insert(AccessRule(id=new_hex(), **same))
        found.append(row.id)
    return found


def _plain(row: AccessRule) -> dict[str, str]:
    return {"id": row.id, "service": row.service, "path": row.path, "method": row.method}


def _rule_view(ctx: Context, row: AccessRule) -> dict[str, Any]:
    return {**_plain(row), "links": {"self": f"{root(ctx.base_url)}/v3/users/{row.user_id}/access_rules/{row.id}"}}


def _application(ctx: Context, user_id: str, application_id: str) -> ApplicationCredential:
    ctx.allow(ctx.rule, {"user_id": user_id})
    row = ctx.db.get(ApplicationCredential, application_id)
    if row is None or row.user_id != user_id:
        raise NotFound(f"Application credential {application_id} could not be found.")
    return row


def _rule(ctx: Context, user_id: str, rule_id: str) -> AccessRule:
    ctx.allow(ctx.rule, {"user_id": user_id})
    row = ctx.db.get(AccessRule, rule_id)
    if row is None or row.user_id != user_id:
        raise NotFound(f"Access rule {rule_id} could not be found.")
    return row
