"""/servers/{id}/action: power, locks, deletion, states."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilvi.compute.api.create_shapes import Password
from pilvi.compute.operations import power
from pilvi.compute.operations import servers as operations
from pilvi.compute.operations.create import new_password
from pilvi.compute.operations.servers import find
from pilvi.compute.policy import admin, member
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Gone, Invalid
from pilvi.kernel.http import UNSET, Body, Given, Resource, wire
from pilvi.kernel.http.versions import Version

actions = Resource("/v2.1/servers", tag="servers")
OF = "server_id"

START = member("servers:start", "Start a server.")
STOP = member("servers:stop", "Stop a server.")
REBOOT = member("servers:reboot", "Reboot a server.")
PAUSE = member("os-pause-server:pause", "Pause a server.")
UNPAUSE = member("os-pause-server:unpause", "Unpause a server.")
SUSPEND = member("os-suspend-server:suspend", "Suspend a server.")
RESUME = member("os-suspend-server:resume", "Resume a suspended server.")
LOCK = member("os-lock-server:lock", "Lock a server.")
UNLOCK = member("os-lock-server:unlock", "Unlock a server.")
UNLOCK_OVERRIDE = admin("os-lock-server:unlock:unlock_override", "Unlock what an administrator locked.")
RESCUE = member("os-rescue", "Run a server from a rescue image.")
UNRESCUE = member("os-unrescue", "Run a rescued server from its own disk again.")
FORCE_DELETE = member("os-deferred-delete:force", "Delete a server at once.")
RESTORE = member("os-deferred-delete:restore", "Bring back a softly deleted server.")
RESET_STATE = admin("os-admin-actions:reset_state", "Say by hand what a server's state is.")
INJECT = admin("os-admin-actions:inject_network_info", "Gone: put network settings into a server.")
RESET_NETWORK = admin("os-admin-actions:reset_network", "Gone: reset a server's network.")
OTHERS = [UNLOCK_OVERRIDE]

_V2_73 = Version(2, 73)


class Reboot(Body):
    """SOFT asks the guest, HARD resets the machine."""

    type: Annotated[str, msgspec.Meta(pattern="^(?i:soft|hard)$")]


class Rescue(Body):
    """From which image, and with which password."""

    password: Password | None = wire("adminPass", default=None)
    rescue_image_ref: str | None = None


class ResetState(Body):
    state: Literal["active", "error"]


class Lock(Body):
    locked_reason: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | Given = UNSET


@actions.action("os-start", of=OF, rule=START, answers=202)
def start(ctx: Context, server_id: str, body: Any) -> None:
    """Start a server that is off."""
    power.change(ctx, find(ctx, server_id), "start")


@actions.action("os-stop", of=OF, rule=STOP, answers=202)
def stop(ctx: Context, server_id: str, body: Any) -> None:
    """Shut a server down."""
    power.change(ctx, find(ctx, server_id), "stop")


@actions.action("reboot", of=OF, rule=REBOOT, answers=202)
def reboot(ctx: Context, server_id: str, body: Reboot) -> None:
    """Reboot a server."""
    power.reboot(ctx, find(ctx, server_id), body.type.upper())


@actions.action("pause", of=OF, rule=PAUSE, answers=202)
def pause(ctx: Context, server_id: str, body: Any) -> None:
    """Stop a server's CPUs; it stays in memory."""
    power.change(ctx, find(ctx, server_id), "pause")


@actions.action("unpause", of=OF, rule=UNPAUSE, answers=202)
def unpause(ctx: Context, server_id: str, body: Any) -> None:
    """Let a paused server go on."""
    power.change(ctx, find(ctx, server_id), "unpause")


@actions.action("suspend", of=OF, rule=SUSPEND, answers=202)
def suspend(ctx: Context, server_id: str, body: Any) -> None:
    """Write a server's memory to disk and turn it off."""
    power.change(ctx, find(ctx, server_id), "suspend")


@actions.action("resume", of=OF, rule=RESUME, answers=202)
def resume(ctx: Context, server_id: str, body: Any) -> None:
    """Let a suspended server go on."""
    power.change(ctx, find(ctx, server_id), "resume")


@actions.action("lock", of=OF, rule=LOCK, answers=202)
def lock(ctx: Context, server_id: str, body: Any) -> None:
    """Lock a server; since 2.73 one may say why."""
    reason: str | None = None
    if body is not None and ctx.version is not None and ctx.version >= _V2_73:
        try:
            said = msgspec.convert(body, Lock).locked_reason if set(body) <= {"locked_reason"} else None
        except (msgspec.ValidationError, TypeError):
            raise Invalid("Invalid input for field locked_reason: a text of 1 to 255 characters is expected.", field="locked_reason") from None
        if said is None:
            raise Invalid("Invalid input for field lock: only locked_reason is known.", field="lock")
        reason = said if isinstance(said, str) else None
    operations.lock(ctx, find(ctx, server_id), reason)


@actions.action("unlock", of=OF, rule=UNLOCK, answers=202)
def unlock(ctx: Context, server_id: str, body: Any) -> None:
    """Unlock a server."""
    operations.unlock(ctx, find(ctx, server_id), UNLOCK_OVERRIDE.name)


@actions.action("rescue", of=OF, rule=RESCUE)
def rescue(ctx: Context, server_id: str, body: Rescue | None) -> dict[str, str]:
    """Run a server from a rescue image, its own disks behind."""
    wish = body or Rescue()
    password = wish.password or new_password(ctx)
    return {"adminPass": power.rescue(ctx, find(ctx, server_id), wish.rescue_image_ref or "", password)}


@actions.action("unrescue", of=OF, rule=UNRESCUE, answers=202)
def unrescue(ctx: Context, server_id: str, body: Any) -> None:
    """Run a rescued server from its own disks again."""
    power.unrescue(ctx, find(ctx, server_id))


@actions.action("forceDelete", of=OF, rule=FORCE_DELETE, answers=202)
def force_delete(ctx: Context, server_id: str, body: Any) -> None:
    """Delete a server at once, without the time in which it could be restored."""
    operations.delete(ctx, find(ctx, server_id), force=True)


@actions.action("restore", of=OF, rule=RESTORE, answers=202)
def restore(ctx: Context, server_id: str, body: Any) -> None:
    """Bring back a softly deleted server."""
    power.restore(ctx, find(ctx, server_id))


@actions.action("os-resetState", of=OF, rule=RESET_STATE, answers=202)
def reset_state(ctx: Context, server_id: str, body: ResetState) -> None:
    """Say by hand what a server's state is."""
    operations.reset_state(ctx, find(ctx, server_id), body.state)


@actions.action("injectNetworkInfo", of=OF, rule=INJECT, answers=410)
def inject_network_info(ctx: Context, server_id: str, body: Any) -> None:
    """Gone: only one hypervisor ever knew this."""
    _gone(ctx, server_id)


@actions.action("resetNetwork", of=OF, rule=RESET_NETWORK, answers=410)
def reset_network(ctx: Context, server_id: str, body: Any) -> None:
    """Gone: only one hypervisor ever knew this."""
    _gone(ctx, server_id)


def _gone(ctx: Context, server_id: str) -> None:
    find(ctx, server_id)
    raise Gone("This was only ever possible on a hypervisor that is no longer supported.")
