"""Actions: note what was asked of a server, and how it ended."""

from __future__ import annotations

from typing import Any

from pilvi.compute.events import ServerChanged, ServerFailed
from pilvi.compute.tables.actions import Action, ActionEvent
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context


def begin(ctx: Context, server: Server, action: str) -> None:
    """Somebody asked this of the server."""
    now = clock.now()
    ctx.db.insert(
        Action(
            server_id=server.id, request_id=ctx.request_id, action=action, user_id=ctx.user_id, project_id=ctx.project_id or server.project_id,
            started_at=now, updated_at=now,
        )
    )  # fmt: skip


def finish(ctx: Context, server: Server, event: str, what: str, *, host: str | None = None, why: str = "") -> None:
    """What was asked under this request has ended: well, or (with `why`) not."""
    now = clock.now()
    action = ctx.db.one(Action, Action.c.server_id == server.id, Action.c.request_id == ctx.request_id)
    if action is not None:
        ctx.db.insert(
            ActionEvent(
                action_id=action.id, event=event, started_at=action.started_at, finished_at=now, result="Error" if why else "Success",
                host=host or server.host, details=why or None,
            )
        )  # fmt: skip
        values: dict[str, Any] = {"updated_at": now}
        if why:
            values["message"] = "Error"
        ctx.db.change(action, **values)
    if why:
        ctx.publish(ServerFailed(server_id=server.id, project_id=server.project_id, what=what, why=why))
    ctx.publish(
        ServerChanged(server_id=server.id, project_id=server.project_id, what=what, vm_state=server.vm_state, task_state=server.task_state)
    )
