"""Volumes of a server: ordered, awaited, reserved, connected, and let go again."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from pilvi.compute.tables.servers import Device, Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import HostError, NotFound
from pilvi.kernel.workflows import Wait


def of_server(ctx: Context, server_id: str) -> list[Device]:
    """The server's disks that are volumes."""
    return ctx.db.all(Device, Device.c.server_id == server_id, Device.c.destination == "volume")


def order(ctx: Context, server: Server) -> list[Device]:
    """Have block storage make the volumes that do not exist yet, as the user; all the server's volumes."""
    devices = of_server(ctx, server.id)
    if not devices:
        return devices
    from pilvi import block_storage

    for device in devices:
        if not device.volume_id:
            size = device.size
            if device.snapshot_id and not size:
                size = block_storage.get_snapshot(ctx, device.snapshot_id).size_gib
            made = block_storage.create_volume(
                ctx, size_gib=size, name="", image_id=device.image_id or None, snapshot_id=device.snapshot_id or None,
                volume_type=device.volume_type or None,
            )  # fmt: skip
            ctx.db.change(device, volume_id=made)
    return devices


def await_made(ctx: Context, server_id: str) -> bool:
    """Wait until all volumes are there; False when the server has none.  Raises Wait, or HostError when one cannot be made."""
    from pilvi import block_storage

    with ctx.program.db.transaction(write=False) as tx:
        wished = tx.all(Device, Device.c.server_id == server_id, Device.c.destination == "volume")
        if not wished:
            return False
        waiting = [one.volume_id for one in wished if not one.attachment_id]
        states = block_storage.status_of(tx, waiting) if waiting else {}
    for volume_id in waiting:
        state = states.get(volume_id)
        if state is None or state.startswith("error"):
            raise HostError(f"Volume {volume_id} could not be made; its own message tells why.", elsewhere=False)
    if any(state in ("creating", "downloading", "maintenance") for state in states.values()):
        raise Wait(5.0)  # woken when block storage tells of the volume
    return True


def reserve(ctx: Context, server: Server) -> None:
    """Reserve the volumes for the server, as the user."""
    from pilvi import block_storage

    for device in of_server(ctx, server.id):
        if not device.attachment_id:
            attachment = block_storage.reserve(ctx, device.volume_id, server.id)
            ctx.db.change(device, attachment_id=attachment, state="reserved")


def connect(ctx: Context, server_id: str, host: str, *, only: str = "") -> None:
    """Open the connections of the volumes on the host (an effect: writes only how they are reached)."""
    from pilvi import block_storage

    with ctx.program.db.transaction(write=False) as tx:
        devices = tx.all(Device, Device.c.server_id == server_id, Device.c.destination == "volume", Device.c.attachment_id != "")
    for device in devices:
        if only and device.id != only:
            continue
        connection = msgspec.to_builtins(block_storage.connect(ctx.program, device.attachment_id, host))
        _keep(ctx, server_id, Device.c.id == device.id, connection=connection)


def _keep(ctx: Context, server_id: str, *which: sa.ColumnElement[bool], **values: Any) -> None:
    """Write how a volume is reached, as who took the work away does not know of it; after the server's row, as all who change what it has."""

    def write(tx: Transaction) -> None:
        tx.lock(Server, server_id)
        tx.update(Device, *which, **values)

    ctx.program.workflows.write(write)


def complete(ctx: Context, server: Server, *, only: str = "") -> None:
    """The volumes are attached."""
    devices = [one for one in of_server(ctx, server.id) if one.attachment_id and one.state != "attached" and only in ("", one.id)]
    if not devices:
        return
    from pilvi import block_storage

    for device in devices:
        block_storage.complete(ctx.system(), device.attachment_id, device.device)
        ctx.db.change(device, state="attached", created_at=device.created_at or clock.now())


# -- of a server that moves --------------------------------------------------------------------------


def reserve_there(ctx: Context, server: Server) -> None:
    """Reserve the volumes a second time, for the host that the server goes to."""
    devices = [one for one in of_server(ctx, server.id) if one.attachment_id and not one.other_attachment_id]
    if not devices:
        return
    from pilvi import block_storage

    for device in devices:
        ctx.db.change(device, other_attachment_id=block_storage.reserve(ctx.system(), device.volume_id, server.id))


def connect_there(ctx: Context, server_id: str, host: str) -> None:
    """Open the connections on the host that the server goes to (an effect: writes only how they are reached)."""
    with ctx.program.db.transaction(write=False) as tx:
        devices = tx.all(Device, Device.c.server_id == server_id, Device.c.other_attachment_id != "")
    if not devices:
        return
    from pilvi import block_storage

    for device in devices:
        connection = msgspec.to_builtins(block_storage.connect(ctx.program, device.other_attachment_id, host))
        same = Device.c.other_attachment_id == device.other_attachment_id
        _keep(ctx, server_id, Device.c.id == device.id, same, other_connection=connection)


def take_there(ctx: Context, server: Server) -> None:
    """The server is on its other host: the connections there are its own, those of the host that it left are over."""
    devices = [one for one in of_server(ctx, server.id) if one.other_attachment_id]
    if not devices:
        return
    from pilvi import block_storage

    for device in devices:
        block_storage.complete(ctx.system(), device.other_attachment_id, device.device)
        block_storage.finish_detach(ctx.system(), device.attachment_id)
        ctx.db.change(
            device, attachment_id=device.other_attachment_id, connection=device.other_connection, other_attachment_id="", other_connection=None,
            state="attached",
        )  # fmt: skip


def drop_there(ctx: Context, server: Server) -> None:
    """The server stays: what was reserved for the other host is free."""
    devices = [one for one in of_server(ctx, server.id) if one.other_attachment_id]
    if not devices:
        return
    from pilvi import block_storage

    for device in devices:
        block_storage.finish_detach(ctx.system(), device.other_attachment_id)
        ctx.db.change(device, other_attachment_id="", other_connection=None)


def disconnect(ctx: Context, server_id: str, *, only: str = "") -> None:
    """Close the connections of the volumes (an effect)."""
    with ctx.program.db.transaction(write=False) as tx:
        devices = tx.all(Device, Device.c.server_id == server_id, Device.c.destination == "volume", Device.c.attachment_id != "")
    if not devices:
        return
    from pilvi import block_storage

    for device in devices:
        if only and device.id != only:
            continue
        try:
            block_storage.disconnect(ctx.program, device.attachment_id)
        except NotFound:
            continue
