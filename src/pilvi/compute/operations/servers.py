"""Servers: find, change, delete and restore them, and guard what may be asked of them when."""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi.compute.logic import states
from pilvi.compute.operations import actions, create_checks
from pilvi.compute.tables.servers import Server, Wishes
from pilvi.compute.workflows.delete_server import DeleteServer
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, NotFound

SOFTLY = ("active", "stopped", "paused", "suspended")  # vm_states from which a deleted server can be restored


def find(ctx: Context, server_id: str, *, rule: str = "") -> Server:
    """The server, if it is there and the caller may act on it."""
    server = ctx.db.get(Server, server_id)
    if server is not None and server.deleted_at is not None:
        server = None
    return ctx.see(server, "Instance", server_id, rule=rule)


def guard(ctx: Context, server: Server, action: str, *, unlocked: bool = True) -> None:
    """Raise Conflict unless the action may be asked for in the server's state, and by whom it is not locked against.

    Until the end of the transaction, if there is one, nobody else changes the server, and `server` is as it is now.
    """
    if ctx.db is not None:
        _take_turn(ctx, server)
    if unlocked and server.locked_by and not ctx.is_admin:
        raise Conflict(f"Instance {server.id} is locked")
    if server.task_state == "deleting" and action not in ("delete", "get_console_output"):
        raise Conflict(f"Cannot '{action}' instance {server.id} while it is in task_state deleting")
    states.check(action, server.id, server.vm_state, server.task_state, launched=server.launched_at is not None)


def _take_turn(ctx: Context, server: Server) -> None:
    """Wait until others who change the server have committed, and read what they wrote."""
    if not ctx.db:  # what only looks, and then asks a host, has no transaction
        return
    now = ctx.db.get_to_change(Server, server.id)
    if now is None or (now.deleted_at is not None and server.deleted_at is None):
        raise NotFound(kind="Instance", ref=server.id)
    for name in server.__struct_fields__:
        setattr(server, name, getattr(now, name))


def ready(ctx: Context, server: Server) -> None:
    """Raise Conflict unless the server is on a host."""
    if not server.host:
        raise Conflict(f"Instance {server.id} is not ready: it is on no host.")


def update(ctx: Context, server: Server, **values: Any) -> Server:
    """Write new names, addresses or descriptions."""
    if values:
        ctx.db.change(server, updated_at=clock.now(), **values)
    return server


def pinned(server: Server, zone: str | None) -> Wishes:
    """The wishes of a server that is kept to its zone from now on, or (None) free to be moved to any."""
    if zone is not None and zone != server.zone:
        raise Conflict(f"Instance {server.id} is in the availability zone {server.zone}; it can only be pinned to that one.")
    return msgspec.structs.replace(server.wishes, zone=zone or "")


def delete(ctx: Context, server: Server, *, force: bool = False) -> None:
    """Delete the server: at once, or after the time in which it can be restored."""
    guard(ctx, server, "delete")
    if server.task_state == "deleting":
        return
    interval = ctx.program.settings.compute.reclaim_instance_interval
    now = clock.now()
    if interval and not force and server.host and server.vm_state in SOFTLY:
        from pilvi.compute.operations.power import soft_delete

        soft_delete(ctx, server)
        return
    actions.begin(ctx, server, "delete")
    ctx.db.change(server, task_state="deleting", updated_at=now)
    ctx.start(DeleteServer(server=server.id))


def lock(ctx: Context, server: Server, reason: str | None) -> None:
    """Lock the server against everything but administrators, and its owner's unlocking."""
    actions.begin(ctx, server, "lock")
    own = server.project_id == ctx.project_id and not (ctx.is_admin and server.user_id != ctx.user_id)
    ctx.db.change(server, locked_by="owner" if own else "admin", locked_reason=reason, updated_at=clock.now())


def unlock(ctx: Context, server: Server, override: str) -> None:
    """Unlock; what an administrator locked, only an administrator unlocks."""
    if server.locked_by == "admin":
        ctx.allow(override, {"project_id": server.project_id, "user_id": server.user_id})
    actions.begin(ctx, server, "unlock")
    ctx.db.change(server, locked_by=None, locked_reason=None, updated_at=clock.now())


def set_metadata(ctx: Context, server: Server, items: dict[str, str]) -> dict[str, str]:
    """Replace the metadata."""
    if server.locked_by and not ctx.is_admin:
        raise Conflict(f"Instance {server.id} is locked")
    states.check("update_metadata", server.id, server.vm_state, server.task_state)
    create_checks.metadata(ctx, items)
    ctx.db.change(server, metadata=items, updated_at=clock.now())
    return items


def set_tags(ctx: Context, server: Server, tags: list[str]) -> list[str]:
    """Replace the tags."""
    if server.vm_state not in ("active", "paused", "suspended", "stopped"):
        raise Conflict(f"Cannot 'update tags' instance {server.id} while it is in vm_state {server.vm_state}")
    ctx.db.change(server, tags=list(dict.fromkeys(tags)), updated_at=clock.now())
    return server.tags


def reset_state(ctx: Context, server: Server, state: str) -> None:
    """Say by hand what the server is: an administrator's last resort."""
    values: dict[str, Any] = {"vm_state": state, "task_state": None, "updated_at": clock.now()}
    if state == "active":
        values["fault"] = None
    ctx.db.change(server, **values)


def look(ctx: Context, server_id: str) -> Server:
    """As `find`, for handlers without a transaction of their own (they speak to the host)."""
    with ctx.program.db.transaction(write=False) as tx:
        inner = ctx.program.context(tx, ctx.caller, request_id=ctx.request_id)
        return find(inner, server_id, rule=ctx.rule)
