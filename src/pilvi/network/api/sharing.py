"""RBAC policies in HTTP: sharing with single projects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from pilvi.kernel.context import Context
from pilvi.kernel.http.shape import Body
from pilvi.network.api.collection import Collection
from pilvi.network.api.rights import Target
from pilvi.network.api.shapes import changes
from pilvi.network.errors import BadRequest, PolicyNotAuthorized, RbacPolicyNotFound
from pilvi.network.operations import records, sharing
from pilvi.network.tables import Network, Record, Share
from pilvi.network.tables.sharing import EVERYONE


class CreatePolicy(Body):
    """A sharing to be made."""

    object_type: Annotated[str, Meta(max_length=64)]
    object_id: Annotated[str, Meta(max_length=64)]
    action: Literal["access_as_shared", "access_as_external"]
    target_project: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    target_tenant: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


def create(ctx: Context, body: Any, project_id: str) -> Share:
    """Let a project, or everyone, use what the caller owns."""
    kind = sharing.KINDS.get(body.object_type)
    if kind is None:
        raise BadRequest(f"Invalid object_type: {body.object_type}. Valid types are {', '.join(sorted(sharing.KINDS))}.", field="object_type")
    target = body.target_project or body.target_tenant
    if not target:
        raise BadRequest("Failed to parse request. Required attribute 'target_tenant' not specified", field="target_tenant")
    if body.action == sharing.EXTERNAL and body.object_type != "network":
        raise BadRequest(f"Invalid action '{body.action}' for object type '{body.object_type}'.", field="action")
    row = ctx.db.get(kind, body.object_id)
    if row is None:
        raise RbacPolicyNotFound(body.object_id)
    if not ctx.is_admin and row.project_id != ctx.project_id:
        raise RbacPolicyNotFound(body.object_id)
    sharing.claim(ctx, project_id)
    made = sharing.share(ctx.db, project_id, body.object_type, body.object_id, body.action, target)
    _bump(ctx, made)
    if body.action == sharing.EXTERNAL and isinstance(row, Network) and not row.external:
        ctx.db.change(row, external=True)
    return made


def update(ctx: Context, row: Share, given: dict[str, Any]) -> None:
    """Share with someone else instead."""
    target = given.get("target_project") or given.get("target_tenant")
    if target and target != row.target_project:
        made = sharing.share(ctx.db, row.project_id, row.object_type, row.object_id, row.action, target)
        sharing.unshare(ctx, row)
        ctx.db.update(Share, Share.c.id == made.id, id=row.id)
        row.target_project = target


def drop(ctx: Context, row: Share) -> None:
    """Share no more."""
    sharing.unshare(ctx, row)
    _bump(ctx, row)


def _bump(ctx: Context, row: Share) -> None:
    kind = sharing.KINDS[row.object_type]
    if issubclass(kind, Record):
        records.bump(ctx.db, kind, row.object_id)


def views(ctx: Context, rows: Sequence[Share]) -> list[dict[str, Any]]:
    """RBAC policies as clients see them."""
    return [
        {
            "id": row.id, "project_id": row.project_id, "tenant_id": row.project_id, "object_type": row.object_type,
            "object_id": row.object_id, "action": row.action, "target_tenant": row.target_project,
        }
        for row in rows
    ]  # fmt: skip


def _for_everyone(data: dict[str, Any]) -> bool:
    return EVERYONE in (data.get("target_tenant"), data.get("target_project"))


def _wish(ctx: Context, data: dict[str, Any], project_id: str) -> Target:
    target = Target(project_id, for_everyone=_for_everyone(data))
    if "target_tenant" not in data and not ctx.allowed("create_rbac_policy:target_tenant", target):
        raise PolicyNotAuthorized("create_rbac_policy:target_tenant")
    return target


COLLECTION = Collection(
    "rbac_policy", "rbac_policies", Share, missing=RbacPolicyNotFound, views=views, create=CreatePolicy,
    update=changes(CreatePolicy, ["target_project", "target_tenant"]), make=create, change=update,
    drop=drop,
    visible=lambda ctx: None if ctx.is_admin else Share.c.project_id == ctx.project_id,
    target=lambda ctx, row: Target(row.project_id), wish=_wish,
    retarget=lambda known, data: known.with_known(for_everyone=_for_everyone(data)), columns={"target_tenant": "target_project"},
)  # fmt: skip
