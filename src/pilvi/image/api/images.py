"""Images: create, list, show, change, delete; deactivate and reactivate; tags."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec
import sqlalchemy as sa

from pilvi.image import policy
from pilvi.image.api.views import image_view
from pilvi.image.logic import filters, patches
from pilvi.image.operations import data, images, imports
from pilvi.image.operations.images import Draft
from pilvi.image.tables import Image, Member, Property, Tag
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Window, page
from pilvi.kernel.errors import Forbidden, Invalid, NotFound
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.kernel.http.rendered import rendered
from pilvi.kernel.ids import is_uuid, new_id

resource = Resource("/v2/images", tag="images")

_LARGEST = 2**31 - 1
_encode = msgspec.json.encode
_LISTED = frozenset(kind.t.name for kind in (Image, Member, Property, Tag))  # what lists of images are made from
_ATTRIBUTES: dict[str, tuple[type, ...]] = {
    "name": (str, type(None)), "visibility": (str,), "disk_format": (str, type(None)), "container_format": (str, type(None)),
    "min_disk": (int,), "min_ram": (int,), "protected": (bool,), "os_hidden": (bool,), "owner": (str, type(None)), "tags": (list,),
}  # fmt: skip


def draft_of(attributes: dict[str, Any], properties: dict[str, Any] | None) -> Draft:
    """What a body says, each attribute of its kind; raises Invalid naming the one that is not."""
    for name, value in attributes.items():
        kinds = _ATTRIBUTES[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise Invalid(f"Invalid value for {name}: {str(value)[:100]!r} is not of type {_words(kinds)}.", field=name)
        if isinstance(value, str) and len(value) > 255:
            raise Invalid(f"Invalid value for {name}: it is longer than 255 characters.", field=name)
        if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= _LARGEST:
            raise Invalid(f"Invalid value for {name}: {value} is not between 0 and {_LARGEST}.", field=name)
    if "visibility" in attributes and attributes["visibility"] not in images.VISIBILITIES:
        raise Invalid(f"Invalid value for visibility: it is one of {', '.join(images.VISIBILITIES)}.", field="visibility")
    for tag in attributes.get("tags", ()):
        require_tag(tag)
    for name, value in (properties or {}).items():
        if not isinstance(value, str):
            raise Invalid(f"Invalid value for {name[:100]}: a property is a string, not {str(value)[:100]!r}.", field=name)
        if not name or len(name) > 255 or len(value) > 65535:
            raise Invalid(f"Invalid property {name[:100]!r}: names have 1 to 255 characters, values up to 65535.", field=name[:100])
    more = {} if properties is None else {"properties": properties}
    return Draft(**attributes, **more)


def _words(kinds: tuple[type, ...]) -> str:
    names = {str: "string", int: "integer", bool: "boolean", list: "array", type(None): "null"}
    return " or ".join(names[kind] for kind in kinds)


def require_tag(tag: object) -> None:
    """Raise Invalid for what is no tag."""
    if not isinstance(tag, str) or not 1 <= len(tag) <= 255:
        raise Invalid(f"Invalid tag {str(tag)[:100]!r}: a tag has 1 to 255 characters.", field="tags")


def told(ctx: Context, image: Image) -> dict[str, Any]:
    """The image's view."""
    return image_view(image, ctx.program.settings.image.store)


@resource.post("", rule=policy.ADD_IMAGE, answers=201, precheck=False)
def create(ctx: Context, body: Any, request: Request) -> Answer:
    """Create an image's record; its data is uploaded or imported afterwards."""
    if not isinstance(body, dict):
        raise Invalid("The body must be a JSON object with the image's attributes and properties.")
    given = dict(body)
    image_id = given.pop("id", None)
    if image_id is None:
        image_id = new_id()
    elif not is_uuid(image_id):
        raise Invalid(f"Invalid value for id: {str(image_id)[:100]!r} is not a uuid.", field="id")
    image_id = str(UUID(image_id))
    attributes = {name: given.pop(name) for name in list(given) if name in _ATTRIBUTES}
    for name in given:
        patches.require_free(name)
    image = images.create(ctx, image_id, draft_of(attributes, given))
    headers = {
        "Location": f"{request.base_url}{request.prefix}/v2/images/{image.id}",
        "OpenStack-image-import-methods": ",".join(imports.methods(ctx)),
        "OpenStack-image-store-ids": ctx.program.settings.image.store,
    }
    return Answer(201, told(ctx, image), headers)


@resource.get("", rule=policy.GET_IMAGES)
def index(ctx: Context, request: Request) -> Answer:
    """List the images that the caller may see, those that fit the query."""
    if request.path.endswith("/"):
        raise NotFound
    return rendered(ctx.program, "image.rendered", _LISTED).answer(ctx, request, render=lambda: _list(ctx, request.query))


def _list(ctx: Context, pairs: list[tuple[str, str]]) -> bytes:
    settings = ctx.program.settings.image
    limit = settings.limit_default
    marker = None
    for name, value in pairs:
        if name == "limit":
            limit = filters.number(name, value)
        elif name == "marker":
            marker = value
    limit = min(limit, settings.limit_most)
    found, more = _page(ctx, pairs, limit, marker)
    store = settings.store
    body: dict[str, Any] = {"images": [image_view(image, store) for image in found]}
    kept = [(name, value) for name, value in pairs if name != "marker"]
    query = f"?{urlencode(kept)}" if kept else ""
    body["first"] = f"/v2/images{query}"
    if more:
        body["next"] = f"/v2/images?{urlencode([*kept, ('marker', found[-1].id)])}"
    body["schema"] = "/v2/schemas/images"
    return _encode(body)


def _page(ctx: Context, pairs: list[tuple[str, str]], limit: int, marker: str | None) -> tuple[list[Image], bool]:
    """The images of a page, and whether more follow."""
    if not limit:
        return [], False
    if all(name == "limit" for name, _ in pairs):  # what most callers ask; the statement is made once
        statement = _FOR_ADMINS if ctx.is_admin else _FOR_PROJECTS
        rows = ctx.db.load(Image, statement, {"me": ctx.project_id, "most": limit + 1})
        return rows[:limit], len(rows) > limit
    where = [*filters.conditions(pairs), *_visible(ctx, dict(pairs))]
    found = page(ctx.db, Image, *where, window=Window(sort=filters.order(pairs), limit=limit, marker=marker))
    return found, found.more


def _newest(visible: Any) -> Any:
    """The statement of the images that are listed when nothing is said about which."""
    newest = (Image.c.created_at.desc(), Image.c.id.desc())
    return sa.select(Image.t).where(Image.c.os_hidden.is_(False), visible).order_by(*newest).limit(sa.bindparam("most", type_=sa.Integer))


_ME = sa.bindparam("me", type_=sa.String)
_MINE = Image.c.owner == _ME
_FOR_ADMINS = _newest(sa.or_(Image.c.visibility != "community", _MINE))
_FOR_PROJECTS = _newest(sa.or_(_MINE, Image.c.visibility == "public", images.shared_with(_ME, "accepted")))


def _visible(ctx: Context, asked: dict[str, str]) -> list[Any]:
    """The conditions under which images are listed for the caller."""
    wanted, member = asked.get("visibility"), asked.get("member_status")
    if member is not None and member not in ("accepted", "pending", "rejected", "all"):
        raise Invalid(f"Invalid member_status '{member[:40]}': it is accepted, pending, rejected or all.", field="member_status")
    if wanted is not None and wanted not in (*images.VISIBILITIES, "all"):
        raise Invalid(f"Invalid visibility value: {wanted[:40]}; it is one of {', '.join(images.VISIBILITIES)} or all.", field="visibility")
    own = Image.c.owner == ctx.project_id
    if wanted in ("public", "community"):
        return [Image.c.visibility == wanted]
    if wanted == "shared" and member is not None:
        return [images.mine(ctx, member) if not ctx.is_admin else sa.or_(images.mine(ctx, member), own), Image.c.visibility == "shared"]
    if ctx.is_admin:
        if wanted in ("private", "shared"):
            return [Image.c.visibility == wanted]
        return [] if wanted == "all" or "owner" in asked else [sa.or_(Image.c.visibility != "community", own)]
    if wanted == "private":
        return [Image.c.visibility == "private", own]
    if wanted == "shared":
        return [Image.c.visibility == "shared", sa.or_(own, images.mine(ctx, member))]
    everyone = ["public", "community"] if wanted == "all" else ["public"]
    return [sa.or_(own, Image.c.visibility.in_(everyone), images.mine(ctx, member))]


@resource.get("/{image_id}", rule=policy.GET_IMAGE, precheck=False)
def show(ctx: Context, image_id: str) -> dict[str, Any]:
    """Show an image."""
    return told(ctx, images.find(ctx, image_id, "get_image"))


@resource.patch("/{image_id}", rule=policy.MODIFY_IMAGE, precheck=False)
def update(ctx: Context, image_id: str, body: Any, request: Request) -> dict[str, Any]:
    """Change an image by a JSON patch, all of its steps or none."""
    steps = patches.steps(request.headers.get("content-type", ""), body)
    image = images.find(ctx, image_id, "modify_image", to_change=True)
    attributes, properties = patches.applied(steps, image.properties)
    return told(ctx, images.change(ctx, image, draft_of(attributes, properties)))


@resource.delete("", rule=policy.DELETE_IMAGE, precheck=False, answers=204)
def delete_nothing(ctx: Context) -> None:
    """Refuse to delete an image without an id."""
    raise NotFound


@resource.delete("/{image_id}", rule=policy.DELETE_IMAGE, precheck=False, answers=204)
def delete(ctx: Context, image_id: str) -> None:
    """Delete an image with its data."""
    image = images.find(ctx, image_id, "delete_image", to_change=True)
    images.delete(ctx, image, (data.store(ctx.program), data.staging(ctx.program)))


def _turn(ctx: Context, image_id: str, rule: str, now: str, then: str) -> None:
    image = images.find(ctx, image_id, rule)
    if image.status == then:
        return
    if image.status != now:
        raise Forbidden(f"Image status transition from {image.status} to {then} is not allowed.")
    ctx.db.change(image, expect={"status": now}, status=then, updated_at=clock.now())


@resource.post("/{image_id}/actions/deactivate", rule=policy.DEACTIVATE, precheck=False, answers=204)
def deactivate(ctx: Context, image_id: str) -> None:
    """Keep an image's data from being downloaded."""
    _turn(ctx, image_id, "deactivate", "active", "deactivated")


@resource.post("/{image_id}/actions/reactivate", rule=policy.REACTIVATE, precheck=False, answers=204)
def reactivate(ctx: Context, image_id: str) -> None:
    """Let an image's data be downloaded again."""
    _turn(ctx, image_id, "reactivate", "deactivated", "active")


@resource.put("/{image_id}/tags/{tag}", rule=policy.MODIFY_IMAGE, precheck=False, answers=204)
def add_tag(ctx: Context, image_id: str, tag: str) -> None:
    """Add a tag to an image."""
    require_tag(tag)
    image = images.find(ctx, image_id, "modify_image", to_change=True)
    if tag not in image.tags:
        images.change(ctx, image, Draft(tags=[*image.tags, tag]))


@resource.delete("/{image_id}/tags/{tag}", rule=policy.MODIFY_IMAGE, precheck=False, answers=204)
def remove_tag(ctx: Context, image_id: str, tag: str) -> None:
    """Remove a tag from an image."""
    image = images.find(ctx, image_id, "modify_image", to_change=True)
    if tag not in image.tags:
        raise NotFound(f"Image {image_id} has no tag {quote(tag)[:255]}.")
    images.change(ctx, image, Draft(tags=[one for one in image.tags if one != tag]))


