"""Images as compute's API showed them until 2.35 (their metadata until 2.38); they are the image service's."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi import image
from pilvi.compute import policy
from pilvi.compute.dialect import PORT, bookmark, links
from pilvi.compute.operations.quotas import check_count
from pilvi.image import ImageInfo, for_compute
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Body, Listing, Query, Request, Resource, wire
from pilvi.kernel.policy import Rule

images = Resource("/v2.1/images", tag="images", until="2.35")
metadata = Resource("/v2.1/images/{image_id}/metadata", tag="images", until="2.38")

# what the image service's own rules guard is guarded there
USE = Rule(policy.PREFIX + "images", "@", "List, show and change images by compute's older API.", scope_types=("project",))

_STATUS = {"active": "ACTIVE", "queued": "SAVING", "saving": "SAVING", "uploading": "SAVING", "importing": "SAVING"}
_PROGRESS = {"active": 100, "saving": 50, "uploading": 50, "importing": 50, "queued": 25}
Value = Annotated[str, msgspec.Meta(max_length=255)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9_:. -]+$")]


class ImagesQuery(Query, extra=True):
    """Which images; `server` is the one that they were made from."""

    name: str | None = None
    status: str | None = None
    server: str | None = None
    type: str | None = None
    min_ram: Annotated[int, msgspec.Meta(ge=0)] | None = wire("minRam", default=None)
    min_disk: Annotated[int, msgspec.Meta(ge=0)] | None = wire("minDisk", default=None)
    changes_since: str | None = wire("changes-since", default=None)
    limit: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    marker: str | None = None


class MetadataBody(Body):
    """Keys and values."""

    metadata: dict[Key, Value]


class ItemBody(Body):
    """One key and its value."""

    meta: dict[Key, Value]


def _brief(ctx: Context, one: ImageInfo) -> dict[str, Any]:
    base = ctx.base_url
    own = f"{base.removesuffix(f':{PORT}')}:9292" if base.endswith(f":{PORT}") else f"{base}/image"
    alternate = {"rel": "alternate", "type": "application/vnd.openstack.image", "href": f"{own}/v2/images/{one.id}"}
    return {"id": one.id, "name": one.name, "links": [*links(base, "images", one.id), alternate]}


def view(ctx: Context, one: ImageInfo) -> dict[str, Any]:
    """An image in full."""
    told = {
        **_brief(ctx, one), "minRam": one.min_ram, "minDisk": one.min_disk, "metadata": one.properties, "created": clock.iso(one.created_at),
        "updated": clock.iso(one.updated_at), "status": _STATUS.get(one.status, "UNKNOWN"), "progress": _PROGRESS.get(one.status, 0),
        "OS-EXT-IMG-SIZE:size": one.size or 0,
    }  # fmt: skip
    server = one.properties.get("instance_uuid")
    if server:
        told["server"] = {"id": server, "links": [links(ctx.base_url, "servers", server)[0], *bookmark(ctx.base_url, "servers", server)]}
    if one.properties.get("auto_disk_config", "").lower() in ("true", "false"):
        told["OS-DCF:diskConfig"] = "AUTO" if one.properties["auto_disk_config"].lower() == "true" else "MANUAL"
    return told


def _get(ctx: Context, image_id: str) -> ImageInfo:
    try:
        return image.get(ctx, image_id)
    except NotFound:
        raise NotFound("Image not found.") from None


def _found(ctx: Context, query: ImagesQuery, request: Request) -> tuple[list[ImageInfo], bool]:
    properties = {name.removeprefix("property-"): value for name, value in request.query if name.startswith("property-")}
    if query.server is not None:
        properties["instance_uuid"] = query.server.rstrip("/").rpartition("/")[2]
    if query.type is not None:
        properties["image_type"] = query.type
    word = (query.status or "").upper()
    most = ctx.program.settings.compute.max_page
    ids, more = for_compute.find(
        ctx, name=query.name, statuses=[name for name, shown in _STATUS.items() if shown == word] or ([word.lower()] if word else []),
        min_disk=query.min_disk, min_ram=query.min_ram, properties=properties,
        changed_since=clock.parse(query.changes_since, "changes-since") if query.changes_since else None,
        limit=most if query.limit is None else min(query.limit, most), marker=query.marker,
    )  # fmt: skip
    known = image.many(ctx, ids)
    return [known[ref] for ref in ids], more


@images.get("", rule=USE, out="images")
def index(ctx: Context, query: ImagesQuery, request: Request) -> Listing:
    """List images."""
    found, more = _found(ctx, query, request)
    return Listing([_brief(ctx, one) for one in found], more=more, marker=found[-1].id if found else None)


@images.get("/detail", rule=USE, out="images")
def detail(ctx: Context, query: ImagesQuery, request: Request) -> Listing:
    """List images in full."""
    found, more = _found(ctx, query, request)
    return Listing([view(ctx, one) for one in found], more=more, marker=found[-1].id if found else None)


@images.get("/{image_id}", rule=USE, out="image")
def show(ctx: Context, image_id: str) -> dict[str, Any]:
    """Show an image."""
    return view(ctx, _get(ctx, image_id))


@images.delete("/{image_id}", rule=USE, answers=204)
def delete(ctx: Context, image_id: str) -> None:
    """Delete an image."""
    _get(ctx, image_id)
    for_compute.delete(ctx, image_id)


# -- metadata ------------------------------------------------------------------------------------------


def _write(ctx: Context, image_id: str, properties: dict[str, str]) -> dict[str, str]:
    check_count(ctx, ctx.project_id, "metadata_items", len(properties))
    return for_compute.set_properties(ctx, image_id, properties)


@metadata.get("", rule=USE, out="metadata")
def list_metadata(ctx: Context, image_id: str) -> dict[str, str]:
    """List an image's metadata."""
    return _get(ctx, image_id).properties


@metadata.post("", rule=USE, out="metadata")
def add_metadata(ctx: Context, image_id: str, body: MetadataBody) -> dict[str, str]:
    """Add or overwrite metadata."""
    return _write(ctx, image_id, {**_get(ctx, image_id).properties, **body.metadata})


@metadata.put("", rule=USE, out="metadata")
def replace_metadata(ctx: Context, image_id: str, body: MetadataBody) -> dict[str, str]:
    """Have these metadata and no others."""
    _get(ctx, image_id)
    return _write(ctx, image_id, body.metadata)


@metadata.get("/{key}", rule=USE, out="meta")
def show_item(ctx: Context, image_id: str, key: str) -> dict[str, str]:
    """Show one item."""
    return {key: _item(ctx, image_id, key)[key]}


@metadata.put("/{key}", rule=USE, out="meta")
def set_item(ctx: Context, image_id: str, key: str, body: ItemBody) -> dict[str, str]:
    """Write one item; the body names the same key as the path."""
    if list(body.meta) != [key]:
        raise Invalid("Request body and URI mismatch: the body must hold exactly the key of the path.", field="meta")
    _write(ctx, image_id, {**_get(ctx, image_id).properties, **body.meta})
    return body.meta


@metadata.delete("/{key}", rule=USE, answers=204)
def delete_item(ctx: Context, image_id: str, key: str) -> None:
    """Delete one item."""
    kept = _item(ctx, image_id, key)
    for_compute.set_properties(ctx, image_id, {name: value for name, value in kept.items() if name != key})


def _item(ctx: Context, image_id: str, key: str) -> dict[str, str]:
    """The image's metadata, in which the key is; raises NotFound."""
    properties = _get(ctx, image_id).properties
    if key not in properties:
        raise NotFound(f"Metadata item was not found: {key[:255]}.")
    return properties
