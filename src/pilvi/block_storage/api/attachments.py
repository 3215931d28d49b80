"""/attachments: who has which volume, and how they reach it."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import ListQuery, filters, found, listing, moment, projects, window
from pilvi.block_storage.api.outside import inside
from pilvi.block_storage.events import DetachAsked
from pilvi.block_storage.operations import attachments as operations
from pilvi.block_storage.tables.volumes import Attachment, Volume
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource, View, since
from pilvi.kernel.ids import is_uuid

attachments = Resource("/v3/attachments", since="3.27")

CREATE = policy.member("volume:attachment_create", "Reserve a volume for a server.")
UPDATE = policy.member("volume:attachment_update", "Connect an attachment to a host.")
DELETE = policy.member("volume:attachment_delete", "End an attachment.")
COMPLETE = policy.member("volume:attachment_complete", "Say that a server has its volume.")
SHOW = policy.reader("volume:get", "Show a volume.")
INDEX = policy.reader("volume:get_all", "List volumes.")
_SORTABLE = {"id": "id", "volume_id": "volume_id", "created_at": "created_at", "status": "status", "attach_status": "status"}
_EQUAL = {"volume_id": "volume_id", "status": "status", "attach_status": "status", "instance_id": "server_id", "id": "id", "attached_host": "host"}


class CreateAttachment(Body, extra=True):
    """An attachment that is asked for."""

    volume_uuid: str
    instance_uuid: str | None = None
    connector: dict[str, Any] | None = None
    mode: str | None = since("3.54", default=None)


class ChangeAttachment(Body, extra=True):
    connector: dict[str, Any]


class BriefAttachment(View):
    id: str
    status: str
    instance: str | None
    volume_id: str


class AttachmentView(BriefAttachment):
    """An attachment."""

    attached_at: str
    detached_at: str
    attach_mode: str | None
    connection_info: dict[str, Any] | Given = UNSET


def _brief(one: Attachment) -> BriefAttachment:
    return BriefAttachment(id=one.id, status=one.status, instance=one.server_id, volume_id=one.volume_id)


def _view(one: Attachment, *, connection: bool) -> AttachmentView:
    info = {}
    if connection and one.connection:
        told = {key: value for key, value in one.connection.items() if key != "kind" and value not in ("", 0)}
        info = {"driver_volume_type": one.connection.get("kind"), **told, "attachment_id": one.id, "volume_id": one.volume_id,
                "access_mode": one.mode, "encrypted": False, "enforce_multipath": False}  # fmt: skip
    return AttachmentView(
        id=one.id, status=one.status, instance=one.server_id, volume_id=one.volume_id, attached_at=moment(one.attached_at) or "",
        detached_at=moment(one.detached_at) or "", attach_mode=None if one.status == "reserved" else one.mode,
        connection_info=info if connection else UNSET,
    )  # fmt: skip


@attachments.post("", rule=CREATE, out="attachment", write=None)
def create(ctx: Context, attachment: CreateAttachment) -> AttachmentView:
    """Reserve a volume for a server; with a connector, connect it to the host at once."""
    if attachment.instance_uuid is not None and not is_uuid(attachment.instance_uuid):
        raise Invalid("Invalid input for field instance_uuid: an id is expected.", field="instance_uuid")
    with inside(ctx, write=True) as tx:
        volume = tx.see(tx.db.get(Volume, attachment.volume_uuid), "Volume", attachment.volume_uuid)
        row = operations.reserve(tx, volume, attachment.instance_uuid, mode=attachment.mode)
    if attachment.connector:
        operations.connect(ctx.program, row.id, _host(attachment.connector), connector=attachment.connector)
    return _told(ctx, row)


@attachments.get("", rule=INDEX, out="attachments")
def index(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, query, request)
    return listing(rows, [_brief(one) for one in rows], extra)


@attachments.get("/detail", rule=INDEX, out="attachments")
def detail(ctx: Context, query: ListQuery, request: Request) -> Listing:
    rows, extra = _rows(ctx, query, request)
    return listing(rows, [_view(one, connection=False) for one in rows], extra)


def _rows(ctx: Context, query: ListQuery, request: Request) -> Any:
    assert ctx.version is not None
    where = projects(ctx, Attachment, query, request)
    where += filters(request, Attachment, equal=_EQUAL, at=ctx.version)
    return found(ctx, Attachment, query, where, window(ctx, query, _SORTABLE))


@attachments.get("/{attachment_id}", rule=SHOW, out="attachment")
def show(ctx: Context, attachment_id: str) -> AttachmentView:
    return _view(operations.get(ctx, attachment_id), connection=True)


@attachments.put("/{attachment_id}", rule=UPDATE, out="attachment", write=None)
def update(ctx: Context, attachment_id: str, attachment: ChangeAttachment) -> AttachmentView:
    """Connect the attachment to the connector's host."""
    host = _host(attachment.connector)
    with inside(ctx) as tx:
        row = operations.get(tx, attachment_id)
        if row.host and row.host != host and row.connection:
            raise Invalid(f"Attachment {row.id} is connected to host {row.host}; delete it and make another.", field="connector")
    operations.connect(ctx.program, row.id, host, connector=attachment.connector)
    return _told(ctx, row)


@attachments.delete("/{attachment_id}", rule=DELETE, out="attachments", write=None)
def delete(ctx: Context, attachment_id: str) -> list[BriefAttachment]:
    """End the attachment; answers the volume's others."""
    with inside(ctx) as tx:
        row = operations.get(tx, attachment_id)
        if row.server_id:
            tx.publish(DetachAsked(volume_id=row.volume_id, attachment_id=row.id, server_id=row.server_id))
    operations.disconnect(ctx.program, row.id)
    with inside(ctx, write=True) as tx:
        operations.remove(tx, row)
        return [_brief(one) for one in operations.of(tx.db, row.volume_id)]


@attachments.action("os-complete", of="attachment_id", rule=COMPLETE, answers=204, since="3.44")
def complete(ctx: Context, attachment_id: str, body: Any) -> None:
    """The server has the volume."""
    row = operations.get(ctx, attachment_id)
    if row.status == "reserved":
        raise Invalid(f"Attachment {row.id} is only reserved; connect it first.")
    operations.complete(ctx, row)


def _told(ctx: Context, row: Attachment) -> AttachmentView:
    with inside(ctx) as tx:
        return _view(tx.db.get(Attachment, row.id) or row, connection=True)


def _host(connector: dict[str, Any]) -> str:
    host = connector.get("host")
    if not isinstance(host, str) or not host:
        raise Invalid("Invalid input received: Invalid connector: it names no host.", field="connector")
    return host
