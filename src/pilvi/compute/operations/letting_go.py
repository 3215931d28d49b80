"""Letting go: give back all that a server holds elsewhere, from whatever state; delete and failure go this one road."""

from __future__ import annotations

from pilvi import image, network, placement
from pilvi.compute.tables.migrations import ENDED, Migration
from pilvi.compute.tables.servers import Device, Server
from pilvi.kernel import clock, log
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, Invalid, NotFound


def give_back(ctx: Context, server: Server, *, failed: bool = False) -> None:
    """Give back ports, volumes and room.  What compute made is deleted, what people made is released.

    A volume that people made goes with the server when they said so, but never because a server `failed`.
    Acts as the cloud: whoever may delete the server need not have rights of their own on what it holds.
    """
    system, nics = ctx.system(), server.nics
    ctx.db.change(server, nics=[])
    for nic in nics:
        try:
            if nic.made:
                network.delete_port(system, nic.port_id)
            else:
                network.release_port(system, nic.port_id)
        except NotFound:
            continue  # somebody deleted the port: nothing is held
    for device in ctx.db.all(Device, Device.c.server_id == server.id, Device.c.destination == "volume"):
        let_volume_go(system, device, delete=device.delete_on_termination and not (failed and device.source == "volume"))
    placement.release(ctx.db, server.id)
    for migration in ctx.db.all(Migration, Migration.c.server_id == server.id, Migration.c.status.not_in(ENDED)):
        placement.release(ctx.db, migration.uuid)
        ctx.db.change(migration, status="confirmed" if migration.status == "finished" else "error", updated_at=clock.now())
    if server.shelved_image is not None:
        let_image_go(system, server.shelved_image.id)


def let_image_go(ctx: Context, image_id: str) -> None:
    """Delete the image that kept a shelved server's disk, unless somebody protected it."""
    try:
        image.delete(ctx, image_id)
    except Forbidden:
        log.info("the image of a shelved server is protected and stays", image=image_id)


def let_volume_go(ctx: Context, device: Device, *, delete: bool) -> None:
    """End the server's hold on a volume, and delete the volume where that was wished.

    A volume that may not be deleted (it has snapshots, or is in a group) stays: the server does not wait for it.
    """
    from pilvi import block_storage

    try:
        for attachment_id in filter(None, (device.other_attachment_id, device.attachment_id)):
            block_storage.finish_detach(ctx, attachment_id)
        if delete and device.volume_id:
            block_storage.delete_volume(ctx, device.volume_id)
    except NotFound:
        pass  # the volume is gone already
    except (Invalid, Conflict) as error:
        log.info("the volume of a deleted server stays", volume=device.volume_id, why=error.message)
    ctx.db.change(device, attachment_id="", connection=None, other_attachment_id="", other_connection=None, state="wished")
