"""Power: what people ask of a running or resting server; each writes the wish and starts its workflow."""

from __future__ import annotations

from typing import Any

from pilvi.compute.operations import actions, create_checks, quotas
from pilvi.compute.operations.servers import guard, ready
from pilvi.compute.tables.servers import ImageCopy, Rescue, Server
from pilvi.compute.workflows.change_power import WAYS, ChangePower
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid


def change(ctx: Context, server: Server, way: str, *, action: str = "", **values: Any) -> None:
    """Wish for another power state by one of the ways."""
    name = action or way
    guard(ctx, server, name)
    ready(ctx, server)
    _begin(ctx, server, way, name, **values)


def reboot(ctx: Context, server: Server, kind: str) -> None:
    """Reboot, softly (as the guest's own) or hard (as the reset button)."""
    hard = kind == "HARD"
    guard(ctx, server, "hard reboot" if hard else "soft reboot")
    ready(ctx, server)
    if hard:
        _begin(ctx, server, "hard reboot", "reboot", reboots=server.reboots + 1)
    else:
        _begin(ctx, server, "reboot", "reboot")


def rescue(ctx: Context, server: Server, image_ref: str, password: str) -> str:
    """Run the server from a rescue image; answers the password that the guest is given."""
    guard(ctx, server, "rescue")
    ready(ctx, server)
    if not server.image_id and not image_ref:
        raise Invalid("Cannot rescue a volume-backed instance without a rescue image.", field="rescue_image_ref")
    ref = image_ref or server.image_id
    found: ImageCopy = create_checks.image(ctx, ref, server.flavor, field="rescue_image_ref") if image_ref else server.image
    secrets = {**server.secrets, "admin_password": password}
    now = clock.now()
    _begin(ctx, server, "rescue", "rescue", rescue=Rescue(image=found, since=now), reboots=server.reboots + 1, secrets=secrets)
    return password


def unrescue(ctx: Context, server: Server) -> None:
    """Run the server from its own disks again."""
    change(ctx, server, "unrescue", rescue=None, reboots=server.reboots + 1)


def soft_delete(ctx: Context, server: Server) -> None:
    """Turn the server off; it can be restored for a while."""
    _begin(ctx, server, "softDelete", "delete", terminated_at=clock.now())


def restore(ctx: Context, server: Server) -> None:
    """Bring back a server that was deleted softly."""
    guard(ctx, server, "restore")
    quotas.check_servers(ctx, server.project_id, instances=1, cores=server.vcpus, ram=server.memory_mib)
    _begin(ctx, server, "restore", "restore", terminated_at=None)


def _begin(ctx: Context, server: Server, way: str, action: str, **values: Any) -> None:
    actions.begin(ctx, server, action)
    ctx.db.change(server, task_state=WAYS[way].doing, power=WAYS[way].power, updated_at=clock.now(), **values)
    ctx.start(ChangePower(server=server.id, way=way))
