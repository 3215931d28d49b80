"""EC2 keys of users, and tokens for requests that were signed with them."""

from __future__ import annotations

from typing import Any

from pilvi.identity.dialect import root
from pilvi.identity.logic.signatures import ec2_fits, refuse_old, s3_fits
from pilvi.identity.memory import of
from pilvi.identity.operations.credentials import EC2, ec2_id, ec2_pair, hold_what_narrows, new_ec2, opened, token_by_signature
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, need
from pilvi.identity.tables import Credential, Project, User
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Answer, Body, Listing, Resource
from pilvi.kernel.policy import Rule

LIST = Rule("identity:ec2_list_credentials", f"{ADMIN_OR_SYSTEM_READER} or rule:owner", "List the EC2 keys of a user.")
CREATE = Rule("identity:ec2_create_credential", f"{ADMIN} or rule:owner", "Make EC2 keys for a user.")
GET = Rule(
    "identity:ec2_get_credential", f"{ADMIN_OR_SYSTEM_READER} or user_id:%(target.credential.user_id)s", "Show EC2 keys of a user."
)
DELETE = Rule("identity:ec2_delete_credential", f"{ADMIN} or user_id:%(target.credential.user_id)s", "Delete EC2 keys of a user.")
EC2_TOKEN = Rule("identity:ec2tokens_validate", "rule:service_or_admin", "Get a token for a signed EC2 request.")
S3_TOKEN = Rule("identity:s3tokens_validate", "rule:service_or_admin", "Get a token for a signed S3 request.")

ec2 = Resource("/v3/users/{user_id}/credentials/OS-EC2")
signed = Resource("/v3")


class CreateEc2(Body, extra=True):
    """The project that the keys are for."""

    tenant_id: str


def ec2_view(ctx: Context, row: Credential) -> dict[str, Any]:
    """EC2 keys."""
    access, secret = ec2_pair(opened(of(ctx.program), ctx.db, row))
    return {
        "access": access, "secret": secret, "user_id": row.user_id, "tenant_id": row.project_id, "trust_id": row.trust_id,
        "links": {"self": f"{root(ctx.base_url)}/v3/users/{row.user_id}/credentials/OS-EC2/{access}"},
    }  # fmt: skip


@ec2.post("", rule=CREATE, answers=201, out="credential", precheck=False)
def create(ctx: Context, user_id: str, body: CreateEc2) -> dict[str, Any]:
    """Make EC2 keys."""
    ctx.allow(ctx.rule, {"user_id": user_id})
    project, user = ctx.db.get_to_build_on(Project, body.tenant_id), ctx.db.get_to_build_on(User, user_id)
    need(user, "User", user_id)
    need(project, "Project", body.tenant_id)
    hold_what_narrows(ctx)
    row, _, _ = new_ec2(
        of(ctx.program), ctx.db, user_id, body.tenant_id, trust_id=ctx.caller.trust_id,
        application_credential_id=ctx.caller.application_credential_id,
    )  # fmt: skip
    return ec2_view(ctx, row)


@ec2.get("", rule=LIST, out="credentials", precheck=False)
def index(ctx: Context, user_id: str) -> Listing:
    """List a user's EC2 keys."""
    ctx.allow(ctx.rule, {"user_id": user_id})
    rows = ctx.db.all(Credential, Credential.c.user_id == user_id, Credential.c.type == EC2)
    return Listing([ec2_view(ctx, row) for row in rows])


@ec2.get("/{access}", rule=GET, out="credential", precheck=False)
def show(ctx: Context, user_id: str, access: str) -> dict[str, Any]:
    """Show EC2 keys."""
    return ec2_view(ctx, _keys(ctx, user_id, access))


@ec2.delete("/{access}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, user_id: str, access: str) -> None:
    """Delete EC2 keys."""
    ctx.db.remove(_keys(ctx, user_id, access))


@signed.post("/ec2tokens", rule=EC2_TOKEN, write=None)
def ec2_token(ctx: Context, body: dict[str, Any]) -> Answer:
    """A token for a signed EC2 request."""
    shown = body.get("ec2Credentials") or body.get("credentials")
    if not isinstance(shown, dict) or not isinstance(shown.get("access"), str) or not shown.get("signature"):
        raise Invalid("credentials must have access and signature.", field="credentials")
    memory = of(ctx.program)
    refuse_old(shown, clock.now(), memory.settings.ec2_clock_skew)
    return _answer(*token_by_signature(memory, shown["access"], lambda secret: ec2_fits(secret, shown)))


@signed.post("/s3tokens", rule=S3_TOKEN, write=None)
def s3_token(ctx: Context, body: dict[str, Any]) -> Answer:
    """A token for a signed S3 request."""
    shown = body.get("credentials")
    if not isinstance(shown, dict) or not all(isinstance(shown.get(name), str) for name in ("access", "signature", "token")):
        raise Invalid("credentials must have access, signature and token.", field="credentials")
    fits = token_by_signature(of(ctx.program), shown["access"], lambda secret: s3_fits(secret, shown["token"], shown["signature"]))
    return _answer(*fits)


def _answer(token: str, body: bytes) -> Answer:
    return Answer(200, body, {"Content-Type": "application/json", "X-Subject-Token": token, "Vary": "X-Auth-Token"})


def _keys(ctx: Context, user_id: str, access: str) -> Credential:
    row = ctx.db.get(Credential, ec2_id(access))
    ctx.allow(ctx.rule, {"target.credential.user_id": row.user_id if row is not None else user_id})
    if row is None or row.user_id != user_id:
        raise NotFound(f"EC2 credential {access} could not be found.")
    return row
