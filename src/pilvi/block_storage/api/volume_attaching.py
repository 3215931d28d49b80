"""/volumes/{id}/action: the older road of attaching: reserve, initialize_connection, attach, and back again."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.outside import inside
from pilvi.block_storage.api.volumes import get
from pilvi.block_storage.errors import wrong_state
from pilvi.block_storage.events import DetachAsked
from pilvi.block_storage.operations import attachments
from pilvi.block_storage.tables.volumes import Attachment, Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Body, Resource
from pilvi.kernel.ids import is_uuid, new_id

attaching = Resource("/v3/volumes", tag="volumes")

_A = "volume_extension:volume_actions:"
ATTACH = policy.member(_A + "attach", "Note that a volume is attached.")
DETACH = policy.member(_A + "detach", "Note that a volume is detached.")
RESERVE = policy.member(_A + "reserve", "Reserve a volume.")
UNRESERVE = policy.member(_A + "unreserve", "Give a reserved volume back.")
BEGIN = policy.member(_A + "begin_detaching", "Begin to detach a volume.")
ROLL = policy.member(_A + "roll_detaching", "Keep a volume that was being detached.")
CONNECT = policy.member(_A + "initialize_connection", "Connect a volume to a host.")
TERMINATE = policy.member(_A + "terminate_connection", "Disconnect a volume from a host.")
FORCE_DETACH = policy.admin("volume_extension:volume_admin_actions:force_detach", "Detach a volume whatever its state.")


class Attach(Body, extra=True):
    instance_uuid: str | None = None
    host_name: str | None = None
    mountpoint: str
    mode: str | None = None


class Detach(Body, extra=True):
    attachment_id: str | None = None


class ForceDetach(Body, extra=True):
    attachment_id: str | None = None
    connector: dict[str, Any] | None = None


class Connect(Body, extra=True):
    connector: dict[str, Any]


@attaching.action("os-reserve", of="volume_id", rule=RESERVE, answers=202)
def reserve(ctx: Context, volume_id: str, body: Any) -> None:
    volume = get(ctx, volume_id)
    if volume.status != "available" and not (volume.multiattach and volume.status == "in-use"):
        raise wrong_state("reserved", "Volume", volume.id, volume.status, "available")
    ctx.db.change(volume, expect={"status": volume.status}, status="attaching", updated_at=clock.now())


@attaching.action("os-unreserve", of="volume_id", rule=UNRESERVE, answers=202)
def unreserve(ctx: Context, volume_id: str, body: Any) -> None:
    volume = get(ctx, volume_id)
    if volume.status == "attaching":
        attached = any(one.status == "attached" for one in attachments.of(ctx.db, volume.id))
        ctx.db.change(volume, status="in-use" if attached else "available", updated_at=clock.now())


@attaching.action("os-attach", of="volume_id", rule=ATTACH, answers=202)
def attach(ctx: Context, volume_id: str, body: Attach) -> None:
    if body.instance_uuid is None and body.host_name is None:
        raise Invalid("Invalid request to attach volume to an invalid target: name an instance_uuid or a host_name.")
    if body.instance_uuid is not None and not is_uuid(body.instance_uuid):
        raise Invalid("instance_uuid must be an id.", field="instance_uuid")
    volume = get(ctx, volume_id)
    attachments.attach(ctx, volume, server_id=body.instance_uuid, host=body.host_name, device=body.mountpoint, mode=body.mode)


@attaching.action("os-begin_detaching", of="volume_id", rule=BEGIN, answers=202)
def begin_detaching(ctx: Context, volume_id: str, body: Any) -> None:
    attachments.begin_detach(ctx, get(ctx, volume_id))


@attaching.action("os-roll_detaching", of="volume_id", rule=ROLL, answers=202)
def roll_detaching(ctx: Context, volume_id: str, body: Any) -> None:
    attachments.roll_detaching(ctx, get(ctx, volume_id))


@attaching.action("os-initialize_connection", of="volume_id", rule=CONNECT, out="connection_info", write=None)
def initialize_connection(ctx: Context, volume_id: str, body: Connect) -> dict[str, Any]:
    """Have the volume reachable for the connector's host."""
    host = _host(body.connector)
    with inside(ctx, write=True) as tx:
        volume = get(tx, volume_id)
        if not volume.host:
            raise wrong_state("connected", "Volume", volume.id, volume.status, "available or attaching")
        attachment = next((one for one in attachments.of(tx.db, volume.id) if one.host == host), None)
        if attachment is None:
            attachment = tx.db.insert(
                Attachment(
                    id=new_id(), volume_id=volume.id, project_id=volume.project_id, host=host, status="attaching",
                    mode=attachments.checked_mode(volume, None), created_at=clock.now(),
                )
            )  # fmt: skip
    attachments.connect(ctx.program, attachment.id, host, connector=body.connector, status=attachment.status)
    with inside(ctx) as tx:
        return attachments.connection_info(volume, tx.db.get(Attachment, attachment.id) or attachment)


@attaching.action("os-terminate_connection", of="volume_id", rule=TERMINATE, answers=202, write=None)
def terminate_connection(ctx: Context, volume_id: str, body: Connect) -> None:
    """Have the volume not reachable for the connector's host any more."""
    host = _host(body.connector)
    with inside(ctx) as tx:
        volume = get(tx, volume_id)
        attachment = next((one for one in attachments.of(tx.db, volume.id) if one.host == host), None)
        if attachment is None:
            return
        _ask(tx, volume, attachment)
    attachments.disconnect(ctx.program, attachment.id)
    if attachment.status == "attaching":
        with inside(ctx, write=True) as tx:
            attachments.remove(tx, attachment)


@attaching.action("os-detach", of="volume_id", rule=DETACH, answers=202, write=None)
def detach(ctx: Context, volume_id: str, body: Detach | None) -> None:
    """The volume is attached no more."""
    _detach(ctx, volume_id, body.attachment_id if body else None, force=False)


@attaching.action("os-force_detach", of="volume_id", rule=FORCE_DETACH, answers=202, write=None)
def force_detach(ctx: Context, volume_id: str, body: ForceDetach) -> None:
    """The volume is attached no more, whatever its state."""
    _detach(ctx, volume_id, body.attachment_id, force=True)


def _detach(ctx: Context, volume_id: str, attachment_id: str | None, *, force: bool) -> None:
    with inside(ctx) as tx:
        volume = get(tx, volume_id)
        if not force and volume.status not in ("in-use", "detaching"):
            raise wrong_state("detached", "Volume", volume.id, volume.status, "in-use or detaching")
        attachment = attachments.find(tx, volume, attachment_id)
        if attachment is not None:
            _ask(tx, volume, attachment)
    if attachment is not None:
        attachments.disconnect(ctx.program, attachment.id)
    with inside(ctx, write=True) as tx:
        if attachment is not None:
            attachments.remove(tx, attachment)
        else:
            attachments.settle(tx, get(tx, volume_id))


def _ask(ctx: Context, volume: Volume, attachment: Attachment) -> None:
    """Whoever uses the attachment for a living server may refuse."""
    if attachment.server_id:
        ctx.publish(DetachAsked(volume_id=volume.id, attachment_id=attachment.id, server_id=attachment.server_id))


def _host(connector: dict[str, Any]) -> str:
    host = connector.get("host")
    if not isinstance(host, str) or not host:
        raise Invalid("Invalid input received: Invalid connector: it names no host.", field="connector")
    return host
