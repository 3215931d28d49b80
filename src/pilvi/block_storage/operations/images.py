"""Volumes as images: a volume's data uploaded as a new image."""

from __future__ import annotations

import msgspec

from pilvi.block_storage.errors import wrong_state
from pilvi.block_storage.tables.volumes import Volume
from pilvi.block_storage.workflows.copies import UploadVolume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid

FORMATS = ("raw", "vmdk", "vdi", "qcow2", "vhd", "vhdx", "ploop")  # that a volume can be asked for as
_OWN = frozenset({"image_id", "image_name", "checksum", "container_format", "disk_format", "min_disk", "min_ram", "size", "signature_verified"})


class Upload(msgspec.Struct, kw_only=True):
    """An image as it is asked for."""

    name: str
    disk_format: str = "raw"
    container_format: str = "bare"
    visibility: str = "private"
    protected: bool = False
    force: bool = False


def upload(ctx: Context, volume: Volume, asked: Upload) -> str:
    """Make a queued image and have it filled with the volume's data; answers the image's id."""
    from pilvi import image

    allowed = ("available", "in-use") if asked.force else ("available",)
    if volume.status not in allowed:
        raise wrong_state("uploaded", "Volume", volume.id, volume.status, " or ".join(allowed))
    if asked.disk_format not in FORMATS:
        raise Invalid(f"Invalid disk format: it is one of {', '.join(FORMATS)}.", field="disk_format")
    kept = volume.image_metadata or {}
    properties = {key: value for key, value in kept.items() if key not in _OWN}
    image_id = image.create(
        ctx, name=asked.name, disk_format=asked.disk_format, container_format=asked.container_format, properties=properties,
        visibility=asked.visibility, min_disk=_number(kept.get("min_disk")), min_ram=_number(kept.get("min_ram")),
    )  # fmt: skip
    ctx.db.change(volume, previous_status=volume.status, status="uploading", copy_id=image_id, updated_at=clock.now())
    ctx.start(UploadVolume(volume_id=volume.id, image_id=image_id, disk_format=asked.disk_format))
    return image_id


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
