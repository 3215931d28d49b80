"""Policies: texts that identity keeps for services that ask for them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi.identity.api.lists import Page, kept, listed
from pilvi.identity.dialect import root
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER
from pilvi.identity.tables.kept import PolicyText
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

GET = Rule("identity:get_policy", ADMIN_OR_SYSTEM_READER, "Show a policy.")
LIST = Rule("identity:list_policies", ADMIN_OR_SYSTEM_READER, "List policies.")
CREATE = Rule("identity:create_policy", ADMIN, "Create a policy.")
UPDATE = Rule("identity:update_policy", ADMIN, "Update a policy.")
DELETE = Rule("identity:delete_policy", ADMIN, "Delete a policy.")

policies = Resource("/v3/policies")

Type = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class CreatePolicy(Body, extra=True):
    """A new policy.  Other attributes are kept."""

    type: Type
    blob: str


class UpdatePolicy(Body, extra=True):
    """What is to be changed of a policy."""

    type: Type | Given = UNSET
    blob: str | Given = UNSET


class PoliciesQuery(Page, extra=True):
    """Which policies."""

    type: str | None = None


def policy_view(ctx: Context, row: PolicyText) -> dict[str, Any]:
    """A policy."""
    link = f"{root(ctx.base_url)}/v3/policies/{row.id}"
    return {**row.extra, "id": row.id, "type": row.type, "blob": row.blob, "links": {"self": link}}


@policies.post("", rule=CREATE, answers=201, out="policy")
def create(ctx: Context, policy: CreatePolicy, request: Request) -> dict[str, Any]:
    """Keep a policy."""
    row = PolicyText(id=new_hex(), type=policy.type, blob=policy.blob, extra=kept(request, "policy", CreatePolicy))
    return policy_view(ctx, ctx.db.insert(row))


@policies.get("", rule=LIST, out="policies")
def index(ctx: Context, query: PoliciesQuery, request: Request) -> Listing:
    """List policies."""
    return listed(ctx, request, query, PolicyText, view=policy_view)


@policies.get("/{policy_id}", rule=GET, out="policy")
def show(ctx: Context, policy_id: str) -> dict[str, Any]:
    """Show a policy."""
    return policy_view(ctx, _policy(ctx, policy_id))


@policies.patch("/{policy_id}", rule=UPDATE, out="policy")
def update(ctx: Context, policy_id: str, policy: UpdatePolicy, request: Request) -> dict[str, Any]:
    """Change a policy."""
    row = _policy(ctx, policy_id)
    changes = {name: getattr(policy, name) for name in ("type", "blob") if getattr(policy, name) is not UNSET}
    return policy_view(ctx, ctx.db.change(row, **changes, extra=row.extra | kept(request, "policy", UpdatePolicy)))


@policies.delete("/{policy_id}", rule=DELETE, answers=204)
def delete(ctx: Context, policy_id: str) -> None:
    """Delete a policy."""
    ctx.db.remove(_policy(ctx, policy_id))


def _policy(ctx: Context, policy_id: str) -> PolicyText:
    row = ctx.db.get(PolicyText, policy_id)
    if row is None:
        raise NotFound(f"Policy {policy_id} could not be found.")
    return row
