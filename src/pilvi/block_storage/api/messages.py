"""/messages: why something that was accepted did not work after all."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import ListQuery, filters, found, listing, projects, window
from pilvi.block_storage.dialect import links
from pilvi.block_storage.tables.volumes import Message
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.http import Listing, Request, Resource

messages = Resource("/v3/messages", since="3.3")

INDEX = policy.reader("message:get_all", "List user messages.")
SHOW = policy.reader("message:get", "Show a user message.")
DELETE = policy.member("message:delete", "Delete a user message.")
_SORTABLE = {"id": "id", "event_id": "action", "resource_type": "resource_type", "resource_uuid": "resource_id", "request_id": "request_id",
             "message_level": "action", "created_at": "created_at"}  # fmt: skip
_EQUAL = {"resource_type": "resource_type", "resource_uuid": "resource_id", "request_id": "request_id"}


def _view(ctx: Context, one: Message) -> dict[str, Any]:
    return {
        "id": one.id, "event_id": f"VOLUME_{one.resource_type}_{one.action}_{one.detail}", "user_message": one.text, "message_level": "ERROR",
        "created_at": clock.iso_micro(one.created_at), "guaranteed_until": clock.iso_micro(one.expires_at), "request_id": one.request_id,
        "resource_type": one.resource_type, "resource_uuid": one.resource_id, "links": links(ctx.base_url, ctx.project_id, "messages", one.id),
    }  # fmt: skip


@messages.get("", rule=INDEX, out="messages")
def index(ctx: Context, query: ListQuery, request: Request) -> Listing:
    assert ctx.version is not None
    where = [*projects(ctx, Message, query, request), Message.c.expires_at > clock.now()]
    where += filters(request, Message, equal=_EQUAL, at=ctx.version)
    rows, extra = found(ctx, Message, query, where, window(ctx, query, _SORTABLE))
    return listing(rows, [_view(ctx, one) for one in rows], extra)


@messages.get("/{message_id}", rule=SHOW, out="message")
def show(ctx: Context, message_id: str) -> dict[str, Any]:
    return _view(ctx, ctx.see(ctx.db.get(Message, message_id), "Message", message_id))


@messages.delete("/{message_id}", rule=DELETE, answers=204)
def delete(ctx: Context, message_id: str) -> None:
    ctx.db.remove(ctx.see(ctx.db.get(Message, message_id), "Message", message_id))
