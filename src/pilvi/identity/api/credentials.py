"""Credentials: secrets of any type that identity keeps for users."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi.identity.api.lists import Page, kept, narrowed
from pilvi.identity.dialect import root
from pilvi.identity.memory import of
from pilvi.identity.operations.credentials import EC2, ec2_id, ec2_pair, hold_what_narrows, opened, sealed
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, see, target
from pilvi.identity.tables import Credential, Project, User
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

_READER = f"{ADMIN_OR_SYSTEM_READER} or user_id:%(target.credential.user_id)s"
_OWNER = f"{ADMIN} or user_id:%(target.credential.user_id)s"
GET = Rule("identity:get_credential", _READER, "Show a credential.")
LIST = Rule("identity:list_credentials", _READER, "List credentials.")
CREATE = Rule("identity:create_credential", _OWNER, "Create a credential.")
UPDATE = Rule("identity:update_credential", _OWNER, "Update a credential.")
DELETE = Rule("identity:delete_credential", _OWNER, "Delete a credential.")

credentials = Resource("/v3/credentials")

Type = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class CreateCredential(Body, extra=True):
    """A new credential.  Other attributes are kept."""

    blob: str | dict[str, Any]
    type: Type
    user_id: str | None = None
    project_id: str | None = None


class UpdateCredential(Body, extra=True):
    """What is to be changed of a credential: its blob and what is kept beside."""

    blob: str | dict[str, Any] | Given = UNSET
    type: str | Given = UNSET
    user_id: str | Given = UNSET
    project_id: str | Given | None = UNSET


class CredentialsQuery(Page, extra=True):
    """Which credentials."""

    user_id: str | None = None
    type: str | None = None


def credential_view(ctx: Context, row: Credential) -> dict[str, Any]:
    """A credential, with its secret."""
    return {
        **row.extra, "id": row.id, "type": row.type, "user_id": row.user_id, "project_id": row.project_id,
        "blob": opened(of(ctx.program), ctx.db, row), "links": {"self": f"{root(ctx.base_url)}/v3/credentials/{row.id}"},
    }  # fmt: skip


@credentials.post("", rule=CREATE, answers=201, out="credential", precheck=False)
def create(ctx: Context, credential: CreateCredential, request: Request) -> dict[str, Any]:
    """Keep a credential."""
    user_id = credential.user_id or ctx.user_id
    ctx.allow(ctx.rule, {"target.credential.user_id": user_id})
    blob = _text(credential.blob)
    credential_id = new_hex()
    if credential.type == EC2:
        if credential.project_id is None:
            raise Invalid("An ec2 credential needs a project_id.", field="project_id")
        credential_id = ec2_id(ec2_pair(blob)[0])
        if ctx.db.get(Credential, credential_id) is not None:
            raise Conflict("There is a credential with this access key already.")
    # a credential may name who is not there; but of those who are, nobody goes before it is written
    ctx.db.hold_all(Project, [credential.project_id] if credential.project_id else [])
    ctx.db.hold(User, user_id)
    hold_what_narrows(ctx)
    row = Credential(
        id=credential_id, user_id=user_id, project_id=credential.project_id, type=credential.type,
        blob=sealed(of(ctx.program), ctx.db, blob), trust_id=ctx.caller.trust_id or None,
        application_credential_id=ctx.caller.application_credential_id or None, extra=kept(request, "credential", CreateCredential),
    )  # fmt: skip
    return credential_view(ctx, ctx.db.insert(row))


@credentials.get("", rule=LIST, out="credentials", precheck=False)
def index(ctx: Context, query: CredentialsQuery, request: Request) -> Listing:
    """List the credentials that the caller may see."""
    where = narrowed(Credential, query, request)
    if not ctx.allowed(ctx.rule, {}):
        ctx.allow(ctx.rule, {"target.credential.user_id": ctx.user_id})
        where.append(Credential.c.user_id == ctx.user_id)
    return Listing([credential_view(ctx, row) for row in ctx.db.all(Credential, *where, order=[Credential.c.id])])


@credentials.get("/{credential_id}", rule=GET, out="credential", precheck=False)
def show(ctx: Context, credential_id: str) -> dict[str, Any]:
    """Show a credential."""
    return credential_view(ctx, _credential(ctx, credential_id))


@credentials.patch("/{credential_id}", rule=UPDATE, out="credential", precheck=False)
def update(ctx: Context, credential_id: str, credential: UpdateCredential, request: Request) -> dict[str, Any]:
    """Change a credential's secret; what and whose it is stays."""
    row = _credential(ctx, credential_id)
    for name in ("type", "user_id", "project_id"):
        if getattr(credential, name) not in (UNSET, getattr(row, name)):
            raise Invalid(f"A credential's {name} cannot be changed: delete it and create another.", field=name)
    changes: dict[str, Any] = {"extra": row.extra | kept(request, "credential", UpdateCredential)}
    if credential.blob is not UNSET:
        blob = _text(credential.blob)
        if row.type == EC2:
            ec2_pair(blob)
        changes["blob"] = sealed(of(ctx.program), ctx.db, blob)
    return credential_view(ctx, ctx.db.change(row, **changes))


@credentials.delete("/{credential_id}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, credential_id: str) -> None:
    """Delete a credential."""
    ctx.db.remove(_credential(ctx, credential_id))


def _credential(ctx: Context, credential_id: str) -> Credential:
    row = ctx.db.get(Credential, credential_id)
    return see(ctx, row, "Credential", credential_id, **(target(credential=row) if row is not None else {}))


def _text(blob: Any) -> str:
    return blob if isinstance(blob, str) else msgspec.json.encode(blob).decode()
