"""Images as records: found, made, changed, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from pilvi.image import policy
from pilvi.image.errors import ImageNotFound
from pilvi.image.events import ImageDeleted
from pilvi.image.stores import Store
from pilvi.image.tables import Image, Member, Property, Tag
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, Forbidden, Invalid, QuotaExceeded
from pilvi.kernel.http import UNSET
from pilvi.kernel.quota import Quotas

VISIBILITIES = ("public", "private", "shared", "community")
_QUOTAS = ("image_count_total", "image_size_total")


class Draft(msgspec.Struct, kw_only=True):
    """What a caller says of an image; UNSET is left as it is."""

    name: Any = UNSET
    visibility: Any = UNSET
    disk_format: Any = UNSET
    container_format: Any = UNSET
    min_disk: Any = UNSET
    min_ram: Any = UNSET
    protected: Any = UNSET
    os_hidden: Any = UNSET
    owner: Any = UNSET
    tags: Any = UNSET
    properties: Any = UNSET

    def given(self) -> dict[str, Any]:
        """What was said."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


def quotas(ctx: Context) -> Quotas:
    """The limits on a project's images."""
    settings = ctx.program.settings.image
    return Quotas("image", {name: getattr(settings, name) for name in _QUOTAS})


def target(ctx: Context, image: Image, member: str = "") -> dict[str, Any]:
    """What policy rules see of an image."""
    return {
        "project_id": image.owner, "tenant_id": image.owner, "owner": image.owner, "visibility": image.visibility, "member_id": member,
    }  # fmt: skip


def find(ctx: Context, image_id: str, rule: str = "", *, to_change: bool = False) -> Image:
    """The image, if the caller may see it and (with `rule`) act on it; raises ImageNotFound or Forbidden.

    `to_change`: locked; not said where servers are made from it, which would wait for each other.
    """
    image = ctx.db.get_to_change(Image, image_id) if to_change else ctx.db.get(Image, image_id)
    if image is None:
        raise ImageNotFound(image_id)
    member = _member(ctx, image)
    if not (ctx.is_admin or image.owner == ctx.project_id or image.visibility in ("public", "community") or member):
        raise ImageNotFound(image_id)
    if rule:
        ctx.allow(rule, target(ctx, image, member))
    return image


def _member(ctx: Context, image: Image) -> str:
    """The caller's project, when the image is shared with it."""
    if image.visibility != "shared" or image.owner == ctx.project_id or not ctx.project_id:
        return ""
    return ctx.project_id if ctx.db.get(Member, image.id, ctx.project_id) is not None else ""


def create(ctx: Context, image_id: str, draft: Draft) -> Image:
    """A new image without data; quota enforced."""
    values = draft.given()
    owner = values.pop("owner", None) or ctx.project_id
    ctx.allow(policy.ADD_IMAGE.name, {"project_id": ctx.project_id, "owner": owner})
    if owner != ctx.project_id and not ctx.is_admin:
        raise Forbidden(f"You are not permitted to create images owned by '{owner}'.")
    now = clock.now()
    image = Image(id=image_id, owner=owner, properties={}, tags=[], created_at=now, updated_at=now)
    _require_sane(ctx, values)
    _require_visibility(ctx, image, values)
    limits = quotas(ctx)
    limits.turn(ctx.db, owner)
    limits.check(ctx.db, owner, "image_count_total", used=ctx.db.count(Image, Image.c.owner == owner), asked=1)
    for name, value in values.items():
        setattr(image, name, value)
    image.tags = list(dict.fromkeys(image.tags))
    if ctx.db.get(Image, image_id) is not None:
        raise Conflict(f"Image ID {image_id} already exists!")
    ctx.db.insert(image)
    ctx.db.insert_all(_searched_properties(image))
    ctx.db.insert_all([Tag(image=image.id, tag=tag) for tag in image.tags])
    return image


def change(ctx: Context, image: Image, draft: Draft) -> Image:
    """Write what the draft says."""
    values = {name: value for name, value in draft.given().items() if getattr(image, name) != value}
    if not values:
        return image
    _require_sane(ctx, values)
    _require_visibility(ctx, image, values)
    if "owner" in values and not ctx.is_admin:
        raise Forbidden("You are not permitted to modify 'owner' on this image.")
    if image.status != "queued":
        for name in ("disk_format", "container_format"):
            if name in values:
                raise Forbidden(f"Attribute {name} can only be replaced for queued image.")
    if "tags" in values:
        values["tags"] = list(dict.fromkeys(values["tags"]))
    ctx.db.change(image, expect={"updated_at": image.updated_at}, updated_at=_later(image), **values)
    if "properties" in values:
        ctx.db.delete(Property, Property.c.image == image.id)
        ctx.db.insert_all(_searched_properties(image))
    if "tags" in values:
        ctx.db.delete(Tag, Tag.c.image == image.id)
        ctx.db.insert_all([Tag(image=image.id, tag=tag) for tag in image.tags])
    return image


def delete(ctx: Context, image: Image, stores: tuple[Store, ...]) -> None:
    """Forget the image, which is locked; its data goes once that is committed."""
    if image.protected:
        raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
    forget(ctx.db, image)
    ctx.publish(ImageDeleted(image_id=image.id, owner=image.owner))

    def sweep() -> None:
        for store in stores:
            store.remove(image.id)

    ctx.after_commit(sweep)


def forget(tx: Transaction, image: Image) -> None:
    """Remove the image's rows."""
    tx.remove(image)
    for kind in (Property, Tag, Member):
        tx.delete(kind, kind.c.image == image.id)


def used_bytes(tx: Transaction, owner: str) -> int:
    """How much data the project's images have in all."""
    return tx.sum(Image.c.size, Image.c.owner == owner, Image.c.status.in_(["active", "deactivated", "importing", "uploading"]))


def mine(ctx: Context, member_status: str | None = None) -> Any:
    """The condition that an image is shared with the caller's project, and accepted or as `member_status` says."""
    return shared_with(ctx.project_id, member_status or "accepted")


def shared_with(project: Any, status: str) -> Any:
    """The condition that an image is shared with the project, which answered that status (or "all": any)."""
    shared = sa.select(Member.c.image).where(Member.c.member == project)
    if status != "all":
        shared = shared.where(Member.c.status == status)
    return sa.and_(Image.c.visibility == "shared", Image.c.id.in_(shared))


def _later(image: Image) -> float:
    """Now, but never the moment of the last change: it is what changes are told apart by."""
    now = clock.now()
    return now if now > image.updated_at else image.updated_at + 1e-6


def _searched_properties(image: Image) -> list[Property]:
    return [Property(image=image.id, name=name, value=value[:255]) for name, value in image.properties.items()]


def _require_visibility(ctx: Context, image: Image, values: Mapping[str, Any]) -> None:
    """Raise Forbidden when the caller may not make the image visible like that."""
    rule = {"public": policy.PUBLICIZE_IMAGE.name, "community": policy.COMMUNITIZE_IMAGE.name}.get(values.get("visibility", ""))
    if rule:
        ctx.allow(rule, target(ctx, image))


def _require_sane(ctx: Context, values: Mapping[str, Any]) -> None:
    """Raise Invalid for formats that are not known here, QuotaExceeded for too many properties or tags."""
    settings = ctx.program.settings.image
    for name, known in (("disk_format", settings.disk_formats), ("container_format", settings.container_formats)):
        value = values.get(name)
        if value is not None and value not in known:
            raise Invalid(f"Invalid {name.replace('_', ' ')} '{str(value)[:60]}' for image; known are: {', '.join(known)}.", field=name)
    for name, most in (("properties", settings.image_property_quota), ("tags", settings.image_tag_quota)):
        count = len(values.get(name) or ())
        if 0 <= most < count:
            raise QuotaExceeded(f"An image may have at most {most} {name}, not {count}.")
