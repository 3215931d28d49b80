"""Hearing: what the services below tell, and what that means for servers."""

from __future__ import annotations

from pilvi.block_storage import AttachmentsAsked, DetachAsked, VolumeChanged, VolumeExtended
from pilvi.compute.operations import actions
from pilvi.compute.tables.servers import Device, Server
from pilvi.compute.workflows.attach_interface import DetachInterface
from pilvi.compute.workflows.attach_volume import GrowDisk
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict
from pilvi.network import PortDeleted


def port_deleted(ctx: Context, event: PortDeleted) -> None:
    """Somebody deleted the port of a server: its card goes, when the work under way on the server is done.

    Who deletes a port for a server takes it from the server's own list first.
    """
    server = ctx.db.get(Server, event.device_id) if event.device_id else None
    if server is None or server.deleted_at is not None or server.task_state == "deleting":
        return
    if any(one.port_id == event.port_id for one in server.nics):
        actions.begin(ctx, server, "detach_interface")
        ctx.start(DetachInterface(server=server.id, port=event.port_id))


def volume_changed(ctx: Context, event: VolumeChanged) -> None:
    """A volume is made, or could not be made: the servers that wait for it look again."""
    if event.what == "create":
        for device in ctx.db.all(Device, Device.c.volume_id == event.volume_id, Device.c.state == "wished"):
            ctx.program.workflows.wake(ctx.db, device.server_id)


def volume_extended(ctx: Context, event: VolumeExtended) -> None:
    """A volume has grown: the machines that have it are told."""
    for device in ctx.db.all(Device, Device.c.volume_id == event.volume_id, Device.c.server_id.in_(event.server_ids)):
        server = ctx.db.get(Server, device.server_id)
        if server is not None and server.host and server.deleted_at is None:
            ctx.db.change(device, size=event.new_size)
            actions.begin(ctx, server, "extend_volume")
            ctx.start(GrowDisk(server=server.id, volume=event.volume_id, size_gib=event.new_size))


def detach_asked(ctx: Context, event: DetachAsked) -> None:
    """Block storage may not take a volume from a living server: compute detaches it."""
    device = ctx.db.one(Device, Device.c.volume_id == event.volume_id, Device.c.server_id == event.server_id)
    server = ctx.db.get(Server, event.server_id) if device is not None else None
    if server is not None and server.deleted_at is None and device is not None and event.attachment_id in (
        device.attachment_id, device.other_attachment_id
    ):  # fmt: skip
        raise Conflict(f"Volume {event.volume_id} is attached to server {server.id}; detach it there.")


def attachments_asked(ctx: Context, event: AttachmentsAsked) -> None:
    """Which of these servers are not there any more."""
    living = {row.id for row in ctx.db.by(Server, Server.c.id, event.server_ids, Server.c.deleted_at.is_(None))}
    event.gone |= set(event.server_ids) - living


HEARS = [
    (PortDeleted, port_deleted),
    (VolumeChanged, volume_changed),
    (VolumeExtended, volume_extended),
    (DetachAsked, detach_asked),
    (AttachmentsAsked, attachments_asked),
]
