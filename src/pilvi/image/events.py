"""What image tells the services above it."""

from __future__ import annotations

import msgspec


class ImageDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """An image is gone."""

    image_id: str
    owner: str


class ImageActivated(msgspec.Struct, frozen=True, kw_only=True):
    """An image has its data."""

    image_id: str
    owner: str
