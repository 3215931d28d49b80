"""Members: the projects that an image is shared with, and what they say to it."""

from __future__ import annotations

from pilvi.image.operations import images
from pilvi.image.tables import Image, Member
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, Invalid, NotFound, QuotaExceeded

STATUSES = ("pending", "accepted", "rejected")


def shared(ctx: Context, image_id: str, rule: str) -> Image:
    """The image, which must be one that can be shared; raises Forbidden otherwise."""
    image = images.find(ctx, image_id, rule, to_change=True)
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
    return image


def find(ctx: Context, image: Image, member_id: str) -> Member:
    """The sharing with one project, for the image's owner or that project; raises NotFound."""
    member = ctx.db.get(Member, image.id, member_id)
    if member is None or not (ctx.is_admin or ctx.project_id in (image.owner, member_id)):
        raise NotFound(f"{member_id[:64]} not found in the member list of the image {image.id}.")
    return member


def listed(ctx: Context, image: Image) -> list[Member]:
    """All sharings for the owner, the caller's own for a member."""
    where = [Member.c.image == image.id]
    if not ctx.is_admin and ctx.project_id != image.owner:
        where.append(Member.c.member == ctx.project_id)
    return ctx.db.all(Member, *where, order=[Member.c.created_at, Member.c.member])


def add(ctx: Context, image: Image, member_id: str) -> Member:
    """Share the image with a project, which may then accept or reject it."""
    most = ctx.program.settings.image.image_member_quota
    if 0 <= most <= ctx.db.count(Member, Member.c.image == image.id):
        raise QuotaExceeded(f"An image may be shared with at most {most} projects.")
    if ctx.db.get(Member, image.id, member_id) is not None:
        raise Conflict(f"The image is already associated with the member {member_id}.")
    now = clock.now()
    return ctx.db.insert(Member(image=image.id, member=member_id, created_at=now, updated_at=now))


def answer(ctx: Context, image: Image, member_id: str, status: object) -> Member:
    """What the project says to the image that is shared with it."""
    if status not in STATUSES:
        raise Invalid(f"Status must be one of {', '.join(STATUSES)}.", field="status")
    member = find(ctx, image, member_id)
    ctx.allow("modify_member", {**images.target(ctx, image, member_id)})
    return ctx.db.change(member, status=status, updated_at=clock.now())
