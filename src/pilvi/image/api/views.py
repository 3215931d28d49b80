"""How images, members and tasks are told."""

from __future__ import annotations

from typing import Any

from pilvi.image.tables import Image, Member, Task
from pilvi.kernel.clock import iso, iso_or_none


def image_view(image: Image, store: str = "") -> dict[str, Any]:
    """An image with its properties beside its attributes, as version 2 tells them."""
    at = f"/v2/images/{image.id}"
    told: dict[str, Any] = {
        **image.properties,
        "name": image.name,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "visibility": image.visibility,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "status": image.status,
        "checksum": image.checksum,
        "protected": image.protected,
        "min_ram": image.min_ram,
        "min_disk": image.min_disk,
        "owner": image.owner,
        "os_hidden": image.os_hidden,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "id": image.id,
        "created_at": iso(image.created_at),
        "updated_at": iso(image.updated_at),
        "tags": image.tags,
        "self": at,
        "file": f"{at}/file",
        "schema": "/v2/schemas/image",
    }
    if image.store is not None:
        told["stores"] = image.store
    if image.importing or image.failed_import:
        told["os_glance_importing_to_stores"] = store if image.importing else ""
        told["os_glance_failed_import"] = store if image.failed_import else ""
    return told


def member_view(member: Member) -> dict[str, Any]:
    """A project that an image is shared with."""
    return {
        "member_id": member.member,
        "image_id": member.image,
        "status": member.status,
        "created_at": iso(member.created_at),
        "updated_at": iso(member.updated_at),
        "schema": "/v2/schemas/member",
    }


def task_view(task: Task, *, whole: bool = True) -> dict[str, Any]:
    """Work that was asked for; in the cloud's list without what went in and came out."""
    told: dict[str, Any] = {
        "id": task.id,
        "type": task.type,
        "status": task.status,
        "owner": task.owner,
        "created_at": iso(task.created_at),
        "updated_at": iso(task.updated_at),
        "self": f"/v2/tasks/{task.id}",
        "schema": "/v2/schemas/task",
    }
    if task.status in ("success", "failure"):
        told["expires_at"] = iso_or_none(task.expires_at)
    if whole:
        told |= {
            "input": task.input, "result": {"image_id": task.image_id} if task.status == "success" else None, "message": task.message,
            "image_id": task.image_id, "request_id": task.request_id, "user_id": task.user_id,
        }  # fmt: skip
    return told
