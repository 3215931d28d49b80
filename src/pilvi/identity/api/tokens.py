"""Tokens: made, asked about, revoked; and where their bearer may go."""

from __future__ import annotations

from typing import Any

from pilvi.identity.api.projects_view import domain_view, project_view
from pilvi.identity.memory import of
from pilvi.identity.operations import authentication
from pilvi.identity.operations.authentication import Shown, WantedScope
from pilvi.identity.operations.catalog import catalog_for
from pilvi.identity.operations.effective import scopes_of
from pilvi.identity.operations.revocations import revoke
from pilvi.identity.operations.tokens import subject, told
from pilvi.identity.policy import ADMIN
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Answer, Body, Listing, Request, Resource
from pilvi.kernel.policy import Rule

CHECK = Rule("identity:check_token", f"{ADMIN} or (role:reader and system_scope:all) or rule:token_subject", "Check a token.")
VALIDATE = Rule(
    "identity:validate_token", f"{ADMIN} or (role:reader and system_scope:all) or rule:service_role or rule:token_subject", "Ask about a token."
)
REVOKE = Rule("identity:revoke_token", f"{ADMIN} or rule:token_subject", "Revoke a token.")
CATALOG = Rule("identity:get_auth_catalog", "", "Get the catalog of one's own scope.")
PROJECTS = Rule("identity:get_auth_projects", "", "List the projects that one can have a token for.")
DOMAINS = Rule("identity:get_auth_domains", "", "List the domains that one can have a token for.")
SYSTEM = Rule("identity:get_auth_system", "", "Tell whether one can have a token for the system.")

tokens = Resource("/v3/auth/tokens")
scopes = Resource("/v3/auth")


class Auth(Body, extra=True):
    """What a client shows, and what it wants a token for."""

    identity: Shown
    scope: WantedScope | str | None = None


@tokens.post("", rule=None, answers=201, write=None)
def create(ctx: Context, auth: Auth, request: Request) -> Answer:
    """Make a token."""
    catalog = not _asked(request, "nocatalog")
    token, body = authentication.authenticate(of(ctx.program), auth.identity, auth.scope, ctx.address, catalog=catalog)
    return _answer(201, body, token)


@tokens.get("", rule=VALIDATE, write=None, precheck=False)
def show(ctx: Context, request: Request) -> Answer:
    """Ask about a token."""
    return _tell(ctx, request)


@tokens.head("", rule=CHECK, write=None, precheck=False)
def check(ctx: Context, request: Request) -> Answer:
    """Ask whether a token is good."""
    return _tell(ctx, request)


@tokens.delete("", rule=REVOKE, answers=204, write=None, precheck=False)
def delete(ctx: Context, request: Request) -> None:
    """Revoke a token."""
    payload = subject(of(ctx.program), _subject_token(request)).payload
    ctx.allow(ctx.rule, {"target.token.user_id": payload.user_id})
    ctx.program.db.run(lambda tx: revoke(tx, audit_id=payload.audit_ids[0]))


@scopes.get("/catalog", rule=CATALOG)
def catalog(ctx: Context, request: Request) -> Answer:
    """The catalog of the caller's scope."""
    if not (ctx.project_id or ctx.caller.domain_id or ctx.caller.system_scope):
        raise NotFound("A token without scope has no catalog.")
    found = catalog_for(ctx.db, of(ctx.program).recall, ctx.user_id, ctx.project_id)
    from pilvi.identity.dialect import root

    here = f"{root(ctx.base_url)}/v3/auth/catalog"
    links = b'{"next":null,"self":"' + here.encode() + b'","previous":null}'
    return Answer(200, b'{"catalog":' + found + b',"links":' + links + b"}", {"Content-Type": "application/json"})


@scopes.get("/projects", rule=PROJECTS, out="projects")
def projects(ctx: Context) -> Listing:
    """The projects that the caller can have a token for."""
    return Listing([project_view(ctx, one) for one in scopes_of(ctx.db, ctx.user_id)[0]])


@scopes.get("/domains", rule=DOMAINS, out="domains")
def domains(ctx: Context) -> Listing:
    """The domains that the caller can have a token for."""
    return Listing([domain_view(ctx, one) for one in scopes_of(ctx.db, ctx.user_id)[1]])


@scopes.get("/system", rule=SYSTEM, out="system")
def system(ctx: Context) -> Listing:
    """Whether the caller can have a token for the system."""
    told_: list[dict[str, Any]] = [{"all": True}] if scopes_of(ctx.db, ctx.user_id)[2] else []
    return Listing(told_)


def _tell(ctx: Context, request: Request) -> Answer:
    memory, token = of(ctx.program), _subject_token(request)
    late = float(memory.settings.expired_window) if _asked(request, "allow_expired") else 0.0
    recall = memory.recall
    vouched = subject(memory, token, late=late)
    ctx.allow(ctx.rule, {"target.token.user_id": vouched.payload.user_id})
    with_catalog = not _asked(request, "nocatalog")
    body = vouched.bodies.get(with_catalog)
    if body is None:
        with ctx.program.db.transaction(write=False) as tx:
            body = told(tx, recall, vouched, catalog=with_catalog)
    return _answer(200, body, token)


def _answer(status: int, body: bytes, token: str) -> Answer:
    return Answer(status, body, {"Content-Type": "application/json", "X-Subject-Token": token, "Vary": "X-Auth-Token"})


def _subject_token(request: Request) -> str:
    token = request.headers.get("x-subject-token", "")
    if not token:
        raise Invalid("The header X-Subject-Token is missing.", field="X-Subject-Token")
    return token


def _asked(request: Request, name: str) -> bool:
    """Whether a flag stands in the query: alone, or as anything but 0 and false."""
    if not request.query_string:
        return False
    return any(key == name and value.lower() not in ("0", "false", "no", "off") for key, value in request.query)
