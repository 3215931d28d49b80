"""/servers/{id}/shares: file shares in servers, which this cloud has none of: the list is empty, and nothing can be attached."""

from __future__ import annotations

from typing import Any

from pilvi.compute.operations.servers import find
from pilvi.compute.policy import member, reader
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound, NotSupported
from pilvi.kernel.http import Resource

shares = Resource("/v2.1/servers/{server_id}/shares", tag="share attachments", since="2.97")

INDEX = reader("os-server-shares:index", "List a server's shares.")
SHOW = reader("os-server-shares:show", "Show a server's share.")
CREATE = member("os-server-shares:create", "Attach a share.")
DELETE = member("os-server-shares:delete", "Detach a share.")


@shares.get("", rule=INDEX, out="shares")
def index(ctx: Context, server_id: str) -> list[dict[str, Any]]:
    """List a server's shares: there are none."""
    find(ctx, server_id)
    return []


@shares.post("", rule=CREATE, answers=201)
def create(ctx: Context, server_id: str, body: Any) -> None:
    """Refused: this cloud has no shared file systems."""
    find(ctx, server_id)
    raise NotSupported("This cloud has no shared file systems; there is no share to attach.")


@shares.get("/{share_id}", rule=SHOW)
def show(ctx: Context, server_id: str, share_id: str) -> None:
    """Not there."""
    _none(ctx, server_id, share_id)


@shares.delete("/{share_id}", rule=DELETE)
def delete(ctx: Context, server_id: str, share_id: str) -> None:
    """Not there."""
    _none(ctx, server_id, share_id)


def _none(ctx: Context, server_id: str, share_id: str) -> None:
    find(ctx, server_id)
    raise NotFound(f"Share {share_id} is not attached to instance {server_id}.")
