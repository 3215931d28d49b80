"""The image cache: have images on hosts before servers need them."""

from __future__ import annotations

from pilvi import image
from pilvi.compute.operations.hosts import is_up
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.workflows.cache_image import CacheImage
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound


def prepare(ctx: Context, hosts: list[str], image_ids: list[str]) -> None:
    """Start fetching the images to those of the hosts that are well; raises Invalid when one cannot be cached."""
    if len(set(image_ids)) != len(image_ids):
        raise Invalid("Invalid input for field cache: an image is named twice.", field="cache")
    well = [row.host for row in ctx.db.by(ComputeHost, ComputeHost.c.host, hosts) if is_up(ctx, row)]
    for image_id in image_ids:
        try:
            info = image.get(ctx, image_id)
        except NotFound as error:
            raise Invalid(error.message, field="cache") from error
        if info.status != "active":
            raise Invalid(f"Image {image_id} is not active.", field="cache")
        for host in well:
            ctx.start(CacheImage(image_id=image_id, checksum=info.checksum or "", host=host))
