"""/os-volume-transfer and, since 3.55, /volume-transfers: volumes handed to other projects."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import ListQuery, Value255, filters, found, listing, projects, truth, window
from pilvi.block_storage.dialect import links
from pilvi.block_storage.operations import transfers as operations
from pilvi.block_storage.tables.volumes import Transfer, Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.kernel.http import Body, Listing, Request, Resource, Version

INDEX = policy.reader("volume:get_all_transfers", "List transfers.")
SHOW = policy.reader("volume:get_transfer", "Show a transfer.")
CREATE = policy.member("volume:create_transfer", "Offer a volume to another project.")
ACCEPT = policy.member("volume:accept_transfer", "Take over a volume that is offered.")
DELETE = policy.member("volume:delete_transfer", "Take an offer back.")
_SORTABLE = {"id": "id", "created_at": "created_at", "name": "name", "display_name": "name", "volume_id": "volume_id"}


class CreateTransfer(Body, extra=True):
    volume_id: str
    name: Value255 | None = None
    no_snapshots: bool | str = False


class Accept(Body, extra=True):
    auth_key: str


def _brief(ctx: Context, one: Transfer) -> dict[str, Any]:
    return {"id": one.id, "name": one.name, "volume_id": one.volume_id, "links": links(ctx.base_url, ctx.project_id, "os-volume-transfer", one.id)}


def _detail(ctx: Context, one: Transfer) -> dict[str, Any]:
    assert ctx.version is not None
    told = _brief(ctx, one) | {"created_at": clock.iso_micro(one.created_at)}
    if ctx.version >= Version(3, 55):
        told["no_snapshots"] = one.no_snapshots
    if ctx.version >= Version(3, 57):
        told |= {"source_project_id": one.project_id, "destination_project_id": one.destination_project_id, "accepted": one.accepted}
    return told


def resource_of(path: str, *, since: str, with_snapshots: bool) -> Resource:
    """The routes of one of the two roads; only the newer one hands snapshots over."""
    resource = Resource(path, since=since)

    @resource.post("", rule=CREATE, answers=202, out="transfer")
    def create(ctx: Context, transfer: CreateTransfer) -> dict[str, Any]:
        volume = ctx.see(ctx.db.get_to_change(Volume, transfer.volume_id), "Volume", transfer.volume_id)
        no_snapshots = not with_snapshots or truth(transfer.no_snapshots, "no_snapshots")
        name = transfer.name.strip() if transfer.name is not None else None
        row, key = operations.create(ctx, volume, name=name, no_snapshots=no_snapshots)
        return _detail(ctx, row) | {"auth_key": key}

    @resource.get("", rule=INDEX, out="transfers")
    def index(ctx: Context, query: ListQuery, request: Request) -> Listing:
        rows, extra = rows_of(ctx, query, request)
        return listing(rows, [_brief(ctx, one) for one in rows], extra)

    @resource.get("/detail", rule=INDEX, out="transfers")
    def detail(ctx: Context, query: ListQuery, request: Request) -> Listing:
        rows, extra = rows_of(ctx, query, request)
        return listing(rows, [_detail(ctx, one) for one in rows], extra)

    def rows_of(ctx: Context, query: ListQuery, request: Request) -> Any:
        assert ctx.version is not None
        where = projects(ctx, Transfer, query, request)
        where += filters(request, Transfer, equal={"name": "name", "volume_id": "volume_id", "id": "id"}, at=ctx.version)
        return found(ctx, Transfer, query, where, window(ctx, query, _SORTABLE))

    @resource.get("/{transfer_id}", rule=SHOW, out="transfer")
    def show(ctx: Context, transfer_id: str) -> dict[str, Any]:
        return _detail(ctx, ctx.see(ctx.db.get(Transfer, transfer_id), "Transfer", transfer_id))

    @resource.post("/{transfer_id}/accept", rule=ACCEPT, answers=202, out="transfer")
    def accept(ctx: Context, transfer_id: str, accept: Accept) -> dict[str, Any]:
        """Whoever knows the key may take the volume: the offer need not be visible to them."""
        row = ctx.db.get(Transfer, transfer_id)
        if row is None:
            raise NotFound(kind="Transfer", ref=transfer_id)
        operations.accept(ctx, row, accept.auth_key, with_snapshots=with_snapshots)
        return _brief(ctx, row)

    @resource.delete("/{transfer_id}", rule=DELETE, answers=202)
    def delete(ctx: Context, transfer_id: str) -> None:
        operations.withdraw(ctx, ctx.see(ctx.db.get(Transfer, transfer_id), "Transfer", transfer_id))

    return resource


older_transfers = resource_of("/v3/os-volume-transfer", since="", with_snapshots=False)
transfers = resource_of("/v3/volume-transfers", since="3.55", with_snapshots=True)
