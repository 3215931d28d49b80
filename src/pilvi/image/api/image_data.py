"""Images' data: upload, download, staging."""

from __future__ import annotations

from collections.abc import Iterator

from pilvi.image import policy
from pilvi.image.logic import ranges
from pilvi.image.operations import data, images
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Forbidden, Invalid, NotFound, UnsupportedMedia
from pilvi.kernel.http import Answer, Request, Resource

resource = Resource("/v2/images/{image_id}", tag="image data")


def _require_octets(request: Request) -> None:
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind != "application/octet-stream":
        raise UnsupportedMedia(f"Image data is sent as application/octet-stream, not {kind[:80]}.")


def _pieces(request: Request) -> Iterator[bytes]:
    """The body piece by piece; raises Invalid when the caller goes away before its end."""
    try:
        yield from request.pieces()
    except ConnectionError:
        raise Invalid("The connection ended before the data did.") from None


@resource.put("/file", rule=policy.UPLOAD_IMAGE, precheck=False, answers=204, write=None, stream=True)
def upload(ctx: Context, image_id: str, request: Request) -> None:
    """Upload an image's data; it is hashed and inspected while it flows."""
    _require_octets(request)
    data.upload(ctx, image_id, _pieces(request))


@resource.put("/stage", rule=policy.UPLOAD_IMAGE, precheck=False, answers=204, write=None, stream=True)
def stage(ctx: Context, image_id: str, request: Request) -> None:
    """Put data aside, to be imported afterwards."""
    _require_octets(request)
    data.stage(ctx, image_id, _pieces(request))


@resource.get("/file", rule=policy.DOWNLOAD_IMAGE, precheck=False, write=None)
def download(ctx: Context, image_id: str, request: Request) -> Answer:
    """Download an image's data, or a part of it."""
    with ctx.program.db.transaction(write=False) as tx:
        image = images.find(ctx.program.context(tx, ctx.caller, request_id=ctx.request_id), image_id, "download_image")
    if image.status == "deactivated" and not ctx.is_admin:
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    if image.status not in ("active", "deactivated") or image.size is None:
        return Answer(204)
    part = ranges.part(request.headers, image.size)
    start, end = part or (0, image.size)
    try:
        pieces = data.store(ctx.program).read(image_id, start, end)
    except NotFound:
        raise NotFound(f"The data of image {image_id} could not be found.") from None
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(end - start), "Accept-Ranges": "bytes"}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{image.size}"
        return Answer(206, pieces, headers)
    if image.checksum:
        headers["Content-MD5"] = image.checksum
    return Answer(200, pieces, headers)
