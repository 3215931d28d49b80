"""What compute's older API does with images: lists them by its own filters, deletes them, writes their properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from pilvi.image import policy
from pilvi.image.operations import data, images
from pilvi.image.tables import Image, Property
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Window, page


def find(
    ctx: Context, *, name: str | None = None, statuses: Sequence[str] = (), min_disk: int | None = None, min_ram: int | None = None,
    changed_since: float | None = None, properties: Mapping[str, str] | None = None, limit: int | None = None, marker: str | None = None,
) -> tuple[list[str], bool]:  # fmt: skip
    """The ids of the images that the caller may see and that fit, newest first, and whether more follow.

    Sizes in GiB and MiB, at least; all properties must have the values given.
    """
    visible = images.mine(ctx) | (Image.c.owner == ctx.project_id) | (Image.c.visibility == "public")
    where = [Image.c.os_hidden.is_(False), Image.c.visibility != "community" if ctx.is_admin else visible]
    if name is not None:
        where.append(Image.c.name == name)
    if statuses:
        where.append(Image.c.status.in_(statuses))
    if min_disk is not None:
        where.append(Image.c.min_disk >= min_disk)
    if min_ram is not None:
        where.append(Image.c.min_ram >= min_ram)
    if changed_since is not None:
        where.append(Image.c.updated_at >= changed_since)
    for key, value in (properties or {}).items():
        where.append(Image.c.id.in_(sa.select(Property.c.image).where(Property.c.name == key, Property.c.value == value)))
    window = Window(sort=(("created_at", True),), limit=limit, marker=marker)
    found = page(ctx.db, Image, *where, window=window)
    return [image.id for image in found], found.more


def delete(ctx: Context, image_id: str) -> None:
    """Delete an image, as the caller; raises ImageNotFound and Forbidden."""
    image = images.find(ctx, image_id, policy.DELETE_IMAGE.name, to_change=True)
    images.delete(ctx, image, (data.store(ctx.program), data.staging(ctx.program)))


def set_properties(ctx: Context, image_id: str, properties: Mapping[str, str]) -> dict[str, str]:
    """Have the image these properties and no others, as the caller; raises ImageNotFound and Forbidden."""
    image = images.find(ctx, image_id, policy.MODIFY_IMAGE.name, to_change=True)
    return images.change(ctx, image, images.Draft(properties=dict(properties))).properties
