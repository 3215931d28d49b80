"""The door of image: what servers and volumes are made from."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pilvi.image.client import download_file, upload_file
from pilvi.image.events import ImageActivated, ImageDeleted
from pilvi.image.inspect import Inspected, inspect_file
from pilvi.image.operations import data as _data
from pilvi.image.operations import for_compute
from pilvi.image.operations import images as _images
from pilvi.image.tables import Image
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.ids import new_id
from pilvi.kernel.program import Program

__all__ = [
    "ImageActivated", "ImageDeleted", "ImageInfo", "Inspected", "create", "delete", "download_file", "fail", "for_compute", "get",
    "inspect_file", "many", "path", "upload_file",
]  # fmt: skip


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An image.  Sizes in bytes, `min_disk` in GiB, `min_ram` in MiB."""

    id: str
    name: str
    owner: str
    status: str
    visibility: str
    disk_format: str | None
    container_format: str | None
    size: int | None
    virtual_size: int | None
    min_disk: int
    min_ram: int
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    properties: dict[str, str]
    tags: list[str]
    protected: bool
    created_at: float
    updated_at: float


def get(ctx: Context, image_id: str) -> ImageInfo:
    """The image; raises NotFound when it is absent or not for the caller to see."""
    return _info(_images.find(ctx, image_id))


def many(ctx: Context, ids: Iterable[str]) -> dict[str, ImageInfo]:
    """Those of the images that there are, whoever may see them: for telling what servers were made from."""
    return {image.id: _info(image) for image in ctx.db.by(Image, Image.c.id, ids)}


def create(
    ctx: Context, *, name: str, disk_format: str, container_format: str, properties: dict[str, str], visibility: str = "private",
    min_disk: int = 0, min_ram: int = 0,
) -> str:  # fmt: skip
    """A queued image of the caller's project, for a snapshot or a volume's data; answers its id.

    Raises QuotaExceeded, and Forbidden when the caller may not make it so visible.
    """
    draft = _images.Draft(
        name=name, disk_format=disk_format, container_format=container_format, properties=properties, visibility=visibility,
        min_disk=min_disk, min_ram=min_ram,
    )  # fmt: skip
    return _images.create(ctx, new_id(), draft).id


def fail(ctx: Context, image_id: str) -> None:
    """Give up an image whose data will not come: it is deleted, unless it has data."""
    image = ctx.db.get_to_change(Image, image_id)
    if image is not None and image.status in ("queued", "saving"):
        ctx.db.change(image, protected=False, updated_at=clock.now())
        delete(ctx, image_id)


def delete(ctx: Context, image_id: str) -> None:
    """Delete an image with its data; may be said of one that is absent.  Raises Forbidden when it is protected."""
    image = ctx.db.get_to_change(Image, image_id)
    if image is not None:
        _images.delete(ctx, image, (_data.store(ctx.program), _data.staging(ctx.program)))


def path(program: Program, image_id: str) -> str | None:
    """The file with the image's data on this host, None when the store has none here."""
    found = _data.store(program).path(image_id)
    return found if found is not None and _data.store(program).size(image_id) is not None else None


def _info(image: Image) -> ImageInfo:
    return ImageInfo(
        id=image.id, name=image.name or "", owner=image.owner, status=image.status, visibility=image.visibility, disk_format=image.disk_format,
        container_format=image.container_format, size=image.size, virtual_size=image.virtual_size, min_disk=image.min_disk, min_ram=image.min_ram,
        checksum=image.checksum, os_hash_algo=image.os_hash_algo, os_hash_value=image.os_hash_value, properties=image.properties, tags=image.tags,
        protected=image.protected, created_at=image.created_at, updated_at=image.updated_at,
    )  # fmt: skip
