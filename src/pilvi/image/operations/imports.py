"""Imports: data that was staged, or that lies on the web, becomes an image's."""

from __future__ import annotations

from typing import Any

from pilvi.image import web
from pilvi.image.operations import data, images
from pilvi.image.tables import Image, Task
from pilvi.image.workflows import ImportImage
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from pilvi.kernel.ids import new_id

_KEPT = 48 * 3600.0  # seconds that a finished task is shown as not expired


def methods(ctx: Context) -> list[str]:
    """The ways of importing that there are."""
    return ["glance-direct", *(["web-download"] if ctx.program.settings.image.web_download else [])]


def start(ctx: Context, image_id: str, body: Any) -> Task:
    """Begin an import; the image is `importing` until it is `active`, or as it was before."""
    method, uri = _method(ctx, body)
    image = images.find(ctx, image_id, "upload_image")
    if method == "copy-image":
        raise Forbidden("There is one store only, so there is nowhere to copy images to.")
    if image.importing:
        raise Conflict(f"Image {image.id} has an import under way.")
    data.require_formats(image)
    wanted = "uploading" if method == "glance-direct" else "queued"
    if image.status != wanted:
        raise Conflict(f"Import method {method} requires an image of status '{wanted}'; image {image.id} is {image.status}.")
    return begin(ctx, image, method, uri, {"method": {"name": method, **({"uri": uri} if uri else {})}})


def begin(ctx: Context, image: Image, method: str, uri: str, request: dict[str, Any], kind: str = "api_image_import") -> Task:
    """Write down the task and its work."""
    now = clock.now()
    stores = [ctx.program.settings.image.store]
    said = {"import_req": request, "image_id": image.id, "backend": stores} if kind == "api_image_import" else request
    task = ctx.db.insert(
        Task(
            id=new_id(), type=kind, image_id=image.id, owner=ctx.project_id, user_id=ctx.user_id, request_id=ctx.request_id, input=said,
            created_at=now, updated_at=now, expires_at=now + _KEPT,
        )
    )  # fmt: skip
    ctx.db.change(image, expect={"status": image.status, "writer": ""}, status="importing", importing=True, failed_import=False, updated_at=now)
    ctx.start(ImportImage(image_id=image.id, task_id=task.id, staged=method == "glance-direct", uri=uri))
    return task


def tasks(ctx: Context, image: Image) -> list[Task]:
    """What was asked for the image, the first first."""
    return ctx.db.all(Task, Task.c.image_id == image.id, order=[Task.c.created_at, Task.c.id])


def find_task(ctx: Context, task_id: str) -> Task:
    """The task; raises NotFound."""
    task = ctx.db.get(Task, task_id)
    if task is None or (task.owner != ctx.project_id and not ctx.is_admin):
        raise NotFound(f"No task found with ID {task_id}")
    return task


def _method(ctx: Context, body: Any) -> tuple[str, str]:
    """The method that a body names, and the address for those that fetch."""
    said = body.get("method") if isinstance(body, dict) else None
    name = said.get("name") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(name, str):
        raise Invalid("The body must name an import method: {\"method\": {\"name\": ...}}.", field="method")
    if name == "copy-image":
        return name, ""
    if name not in methods(ctx):
        raise Invalid(f"Unknown import method name '{name[:60]}'; there are: {', '.join(methods(ctx))}.", field="method")
    known = {ctx.program.settings.image.store}
    asked = body.get("stores") or []
    if not isinstance(asked, list) or not all(isinstance(one, str) for one in asked) or set(asked) - known:
        raise Conflict(f"There is no such store; there is: {', '.join(known)}.")
    if name != "web-download":
        return name, ""
    uri = said.get("uri")
    if not isinstance(uri, str):
        raise Invalid("The import method web-download takes a 'uri'.", field="uri")
    web.require_fetchable(uri, ctx.program.settings.image.web_download_allow)
    return name, uri
