"""Errors of image that have an answer of their own."""

from __future__ import annotations

from pilvi.kernel.errors import NotFound, PilviError, QuotaExceeded


class ImageNotFound(NotFound):
    """There is no such image, or the caller may not see it."""

    def __init__(self, image_id: str) -> None:
        super().__init__(f"No image found with ID {image_id}", kind="Image", ref=image_id)


class StorageQuotaExceeded(QuotaExceeded):
    """The data would be more than the project, or one image, may have."""


class WrongType(PilviError):
    """The body of a change is in a form that is not spoken here."""
