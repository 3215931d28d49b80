"""Imports and what there is to import with; tasks; stores."""

from __future__ import annotations

from typing import Any

from pilvi.image import policy, web
from pilvi.image.api.images import draft_of
from pilvi.image.api.views import task_view
from pilvi.image.operations import data, images, imports
from pilvi.image.tables import Image, Task
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Window, page
from pilvi.kernel.errors import Forbidden, Invalid, NotFound
from pilvi.kernel.http import Answer, Query, Request, Resource
from pilvi.kernel.ids import new_id

info = Resource("/v2/info", tag="info")
importing = Resource("/v2/images/{image_id}", tag="imports")
tasks = Resource("/v2/tasks", tag="tasks")
stores = Resource("/v2/stores", tag="stores")


@info.get("/import", rule=policy.INFO)
def import_info(ctx: Context) -> dict[str, Any]:
    """Tell the ways of importing."""
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": imports.methods(ctx)}}


@info.get("/stores", rule=policy.INFO)
def stores_info(ctx: Context) -> dict[str, Any]:
    """Tell where images are kept."""
    return {"stores": [{"id": ctx.program.settings.image.store, "description": "The cloud's images.", "default": True}]}


@info.get("/usage", rule=policy.USAGE)
def usage(ctx: Context) -> dict[str, Any]:
    """Tell what the project uses of its quotas: images by number, data in MiB."""
    limits = images.quotas(ctx).limits(ctx.db, ctx.project_id)
    size = images.used_bytes(ctx.db, ctx.project_id)
    counts = {name: ctx.db.count(Image, Image.c.owner == ctx.project_id, *where) for name, where in _COUNTED.items()}
    most = limits["image_size_total"]
    return {
        "usage": {
            "image_size_total": {"usage": size >> 20, "limit": most if most < 0 else most >> 20},
            "image_stage_total": {"usage": 0, "limit": -1},
            "image_count_total": {"usage": counts["all"], "limit": limits["image_count_total"]},
            "image_count_uploading": {"usage": counts["uploading"], "limit": -1},
        }
    }


_COUNTED = {"all": (), "uploading": (Image.c.status.in_(["saving", "uploading", "importing"]),)}


@importing.post("/import", rule=policy.UPLOAD_IMAGE, precheck=False, answers=202)
def start(ctx: Context, image_id: str, body: Any) -> Answer:
    """Begin to import an image's data."""
    imports.start(ctx, image_id, body)
    return Answer(202, b"")


@importing.get("/tasks", rule=policy.GET_IMAGE, precheck=False)
def image_tasks(ctx: Context, image_id: str) -> dict[str, Any]:
    """List what was asked for an image."""
    image = images.find(ctx, image_id, "get_image")
    return {"tasks": [task_view(one) for one in imports.tasks(ctx, image)]}


class TasksQuery(Query, extra=True):
    """Which tasks."""

    status: str | None = None
    type: str | None = None
    limit: int = 25
    marker: str | None = None


@tasks.get("", rule=policy.GET_TASKS)
def index(ctx: Context, query: TasksQuery, request: Request) -> dict[str, Any]:
    """List the tasks of the whole cloud."""
    where = [column == value for column, value in ((Task.c.status, query.status), (Task.c.type, query.type)) if value]
    window = Window(sort=(("created_at", True),), limit=max(1, min(query.limit, 1000)), marker=query.marker)
    found = page(ctx.db, Task, *where, window=window)
    body: dict[str, Any] = {"tasks": [task_view(one, whole=False) for one in found], "first": "/v2/tasks", "schema": "/v2/schemas/tasks"}
    if found.more:
        body["next"] = f"/v2/tasks?limit={window.limit}&marker={found[-1].id}"
    return body


@tasks.get("/{task_id}", rule=policy.GET_TASK)
def show(ctx: Context, task_id: str) -> dict[str, Any]:
    """Show a task."""
    return task_view(imports.find_task(ctx, task_id))


@tasks.post("", rule=policy.ADD_TASK, answers=201)
def create(ctx: Context, body: Any, request: Request) -> Answer:
    """Create an image and import its data from the web, in one."""
    said = body.get("input") if isinstance(body, dict) else None
    if not isinstance(body, dict) or body.get("type") != "import" or not isinstance(said, dict):
        raise Invalid("A task is of the type 'import' and has an 'input'.", field="type")
    source, properties = said.get("import_from"), said.get("image_properties")
    if not isinstance(source, str) or not isinstance(properties, dict):
        raise Invalid("The input of an import names 'import_from' and 'image_properties'.", field="input")
    web.require_fetchable(source, ctx.program.settings.image.web_download_allow)
    known = {"name", "visibility", "disk_format", "container_format", "min_disk", "min_ram", "protected"}
    attributes = {name: value for name, value in properties.items() if name in known}
    others = {name: value for name, value in properties.items() if name not in known}
    image = images.create(ctx, new_id(), draft_of(attributes, others))
    data.require_formats(image)
    task = imports.begin(ctx, image, "web-download", source, said, kind="import")
    return Answer(201, task_view(task), {"Location": f"{request.base_url}{request.prefix}/v2/tasks/{task.id}"})


@stores.delete("/{store}/{image_id}", rule=policy.DELETE_LOCATION, answers=204)
def delete_from(ctx: Context, store: str, image_id: str) -> None:
    """Remove an image's data from one of several stores; of its only one it is not removed."""
    image = images.find(ctx, image_id)
    if image.store != store:
        raise NotFound(f"Image {image_id} is not in a store '{store[:60]}'.")
    raise Forbidden(f"'{store}' is the only store that has image {image_id}; delete the image itself.")
