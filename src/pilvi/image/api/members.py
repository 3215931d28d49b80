"""Members: projects that an image is shared with."""

from __future__ import annotations

from typing import Any

from pilvi.image import policy
from pilvi.image.api.views import member_view
from pilvi.image.operations import images, members
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Resource

resource = Resource("/v2/images/{image_id}/members", tag="members")


@resource.get("", rule=policy.GET_MEMBERS, precheck=False)
def index(ctx: Context, image_id: str) -> dict[str, Any]:
    """List the projects that an image is shared with."""
    image = members.shared(ctx, image_id, "get_members")
    return {"members": [member_view(one) for one in members.listed(ctx, image)], "schema": "/v2/schemas/members"}


@resource.post("", rule=policy.ADD_MEMBER, precheck=False)
def create(ctx: Context, image_id: str, body: Any) -> dict[str, Any]:
    """Share an image with a project."""
    member = body.get("member") if isinstance(body, dict) else None
    if not isinstance(member, str) or not 1 <= len(member) <= 64:
        raise Invalid('Member to be added not specified: {"member": PROJECT_ID} is expected.', field="member")
    return member_view(members.add(ctx, members.shared(ctx, image_id, "add_member"), member))


@resource.get("/{member_id}", rule=policy.GET_MEMBER, precheck=False)
def show(ctx: Context, image_id: str, member_id: str) -> dict[str, Any]:
    """Show how an image is shared with a project."""
    image = images.find(ctx, image_id)
    member = members.find(ctx, image, member_id)
    ctx.allow("get_member", images.target(ctx, image, member_id))
    return member_view(member)


@resource.put("/{member_id}", rule=policy.MODIFY_MEMBER, precheck=False)
def update(ctx: Context, image_id: str, member_id: str, body: Any) -> dict[str, Any]:
    """Accept or reject a shared image, as the project that it is shared with."""
    if not isinstance(body, dict) or "status" not in body:
        raise Invalid('Status not specified: {"status": "accepted"} is expected.', field="status")
    return member_view(members.answer(ctx, members.shared(ctx, image_id, ""), member_id, body["status"]))


@resource.delete("/{member_id}", rule=policy.DELETE_MEMBER, precheck=False, answers=204)
def delete(ctx: Context, image_id: str, member_id: str) -> None:
    """Share an image with a project no more."""
    image = members.shared(ctx, image_id, "delete_member")
    ctx.db.remove(members.find(ctx, image, member_id))
