"""Rebuild: give a server a new root disk from an image, and what else its request changes."""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi.compute.operations import actions, create_checks
from pilvi.compute.operations.servers import guard, ready
from pilvi.compute.tables.servers import Server
from pilvi.compute.workflows.rebuild_server import RebuildServer
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid


def rebuild(ctx: Context, server: Server, image_ref: str, password: str, values: dict[str, Any], files: dict[str, bytes]) -> None:
    """Write the new image and a new generation of disks; the workflow makes them.

    A server on a volume can be rebuilt only with the image that the volume was made from: its disk stays.
    """
    guard(ctx, server, "rebuild")
    ready(ctx, server)
    if "metadata" in values:
        create_checks.metadata(ctx, values["metadata"])
    image = create_checks.image(ctx, image_ref, server.flavor, on_volume=not server.image_id)
    stopped = server.vm_state == "stopped"
    if server.image_id:
        values |= {"image": image, "image_id": image.id, "generation": server.generation + 1, "base": None}
    elif server.image.properties.get("image_id", image.id) != image.id:
        raise Invalid("Unable to rebuild with a different image for a volume-backed server.", field="imageRef")
    if files:
        values["wishes"] = msgspec.structs.replace(server.wishes, files=files)
    actions.begin(ctx, server, "rebuild")
    ctx.db.change(
        server, task_state="rebuilding", power="shutoff" if stopped else "running", reboots=server.reboots + 1, progress=0,
        updated_at=clock.now(), secrets={**server.secrets, "admin_password": password}, **values,
    )  # fmt: skip
    ctx.start(RebuildServer(server=server.id))
