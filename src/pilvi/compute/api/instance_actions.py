"""/servers/{id}/os-instance-actions: what was asked of a server and how it went."""

from __future__ import annotations

from typing import Any

from pilvi.compute.api.server_views import host_id
from pilvi.compute.policy import admin, reader
from pilvi.compute.tables.actions import Action, ActionEvent
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Window, page
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import UNSET, Given, Listing, Query, Resource, View, since
from pilvi.kernel.http.versions import Version

instance_actions = Resource("/v2.1/servers/{server_id}/os-instance-actions", tag="instance actions")

LIST = reader("os-instance-actions:list", "List what was asked of a server.")
SHOW = reader("os-instance-actions:show", "Show one thing that was asked of a server.")
EVENTS = admin("os-instance-actions:events", "See how the parts of an action went, before 2.51.")
DETAILS = admin("os-instance-actions:events:details", "See why a part of an action failed.")
OTHERS = [EVENTS, DETAILS]
_V2_21, _V2_51, _V2_58, _V2_62, _V2_84 = (Version(2, minor) for minor in (21, 51, 58, 62, 84))


class ActionView(View):
    """Something that was asked of a server."""

    action: str
    instance_uuid: str
    request_id: str
    user_id: str
    project_id: str
    start_time: str
    message: str | None
    updated_at: str = since("2.58")
    events: list[dict[str, Any]] | Given = UNSET


class ActionsQuery(Query, extra=True):
    limit: str | None = since("2.58", default=None)
    marker: str | None = since("2.58", default=None)
    changes_since: str | None = since("2.58", name="changes-since", default=None)
    changes_before: str | None = since("2.66", name="changes-before", default=None)


def _find(ctx: Context, server_id: str) -> Server:
    """The server; since 2.21 also one that is deleted."""
    server = ctx.db.get(Server, server_id)
    if server is not None and server.deleted_at is not None and (ctx.version is None or ctx.version < _V2_21):
        server = None
    return ctx.see(server, "Instance", server_id)


def _view(action: Action) -> ActionView:
    return ActionView(
        action=action.action, instance_uuid=action.server_id, request_id=action.request_id, user_id=action.user_id,
        project_id=action.project_id, start_time=clock.iso_micro(action.started_at), message=action.message,
        updated_at=clock.iso_micro(action.updated_at),
    )  # fmt: skip


@instance_actions.get("", rule=LIST, out="instanceActions")
def index(ctx: Context, server_id: str, query: ActionsQuery) -> Listing:
    """List what was asked of a server, the newest first."""
    server = _find(ctx, server_id)
    where = [Action.c.server_id == server.id]
    if query.changes_since:
        where.append(Action.c.updated_at >= clock.parse(query.changes_since, "changes-since"))
    if query.changes_before:
        where.append(Action.c.updated_at < clock.parse(query.changes_before, "changes-before") + 1)
    limit = ctx.program.settings.compute.max_page
    if query.limit:
        if not query.limit.isdigit():
            raise Invalid("Invalid input for field limit: it must be a whole number, not below 0.", field="limit")
        limit = min(limit, int(query.limit))
    marker = None
    if query.marker:
        at = ctx.db.one(Action, Action.c.server_id == server.id, Action.c.request_id == query.marker)
        if at is None:
            raise Invalid(f"marker [{query.marker}] not found", field="marker")
        marker = str(at.id)
    window = Window(sort=(("id", True),), limit=limit, marker=marker)
    found = page(ctx.db, Action, *where, window=window)
    more = found.more and ctx.version is not None and ctx.version >= _V2_58
    return Listing([_view(one) for one in found], more=more, marker=found[-1].request_id if found else None)


@instance_actions.get("/{request_id}", rule=SHOW, out="instanceAction")
def show(ctx: Context, server_id: str, request_id: str) -> ActionView:
    """Show one of them, with its parts."""
    server = _find(ctx, server_id)
    action = ctx.db.one(Action, Action.c.server_id == server.id, Action.c.request_id == request_id)
    if action is None:
        raise NotFound(f"Action for request_id {request_id} on instance {server_id} not found")
    view = _view(action)
    version = ctx.version or Version(2, 1)
    insider = ctx.allowed(EVENTS.name)
    if insider or version >= _V2_51:
        events = ctx.db.all(ActionEvent, ActionEvent.c.action_id == action.id, order=[ActionEvent.c.id])
        view.events = [_event(ctx, server, event, version, insider) for event in events]
    return view


def _event(ctx: Context, server: Server, event: ActionEvent, version: Version, insider: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event": event.event, "start_time": clock.iso_micro(event.started_at),
        "finish_time": None if event.finished_at is None else clock.iso_micro(event.finished_at), "result": event.result,
    }  # fmt: skip
    if insider:
        told["traceback"] = None
    if version >= _V2_62:
        told["hostId"] = host_id(server.project_id, event.host) if event.host else ""
        if insider:
            told["host"] = event.host
    if version >= _V2_84 and ctx.allowed(DETAILS.name):
        told["details"] = event.details
    return told
