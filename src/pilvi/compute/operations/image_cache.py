"""The image cache: have images on hosts before servers need them."""

from __future__ import annotations

from pilvi import image
from pilvi.compute.workflows.cache_image import CacheImage
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid


def prepare(ctx: Context, hosts: list[str], image_ids: list[str]) -> None:
    """Start fetching the images to each of the hosts; raises Invalid when one cannot be cached."""
    if len(set(image_ids)) != len(image_ids):
        raise Invalid("Invalid input for field cache: an image is named twice.", field="cache")
    for image_id in image_ids:
        info = image.get(ctx, image_id)
        if info.status != "active":
            raise Invalid(f"Image {image_id} is not active.", field="cache")
        for host in hosts:
            ctx.start(CacheImage(image_id=image_id, checksum=info.checksum or "", host=host))
