"""Shelving: put a server away without losing it, and bring it back."""

from __future__ import annotations

import msgspec

from pilvi import image
from pilvi.compute.logic.moves import Move
from pilvi.compute.operations import actions, letting_go, moves
from pilvi.compute.operations.servers import guard, ready
from pilvi.compute.operations.snapshot import begin_image
from pilvi.compute.operations.zones import zone_names
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import Device, ImageCopy, Server
from pilvi.compute.workflows.change_power import WAYS, ChangePower
from pilvi.compute.workflows.shelve_server import OffloadServer, ShelveServer, UnshelveServer
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid
from pilvi.kernel.program import Program


def shelve(ctx: Context, server: Server) -> None:
    """Turn the server off and keep its disk as an image."""
    guard(ctx, server, "shelve")
    ready(ctx, server)
    kept: ImageCopy | None = None
    form = ""
    if server.image_id:
        image_id, form = begin_image(ctx, server, f"{server.name}-shelved", {"image_type": "snapshot"})
        kept = msgspec.structs.replace(server.image, id=image_id, checksum="", disk_format=form)
    actions.begin(ctx, server, "shelve")
    ctx.db.change(server, task_state="shelving", power="shutoff", updated_at=clock.now())
    ctx.start(ShelveServer(server=server.id, kept=kept, disk_format=form))


def offload(ctx: Context, server: Server) -> None:
    """Take a shelved server from its host."""
    guard(ctx, server, "shelveOffload")
    actions.begin(ctx, server, "shelveOffload")
    ctx.db.change(server, task_state="shelving_offloading", updated_at=clock.now())
    ctx.start(OffloadServer(server=server.id))


def unshelve(ctx: Context, server: Server, zone: str | None, host: str | None, *, unpin: bool = False) -> None:
    """Bring a shelved server back, where one names a zone or host (of an offloaded one) there."""
    guard(ctx, server, "unshelve")
    if server.vm_state == "shelved" and (zone or host):
        raise Conflict(f"Cannot specify a zone or host when unshelving instance {server.id}: it is in vm_state shelved, not shelved_offloaded.")
    if zone and zone not in zone_names(ctx.db, ctx.program.settings.compute.default_zone):
        raise Invalid("The requested availability zone is not available", field="availability_zone")
    if host and ctx.db.get(ComputeHost, host) is None:
        raise Invalid(f"Compute host {host} could not be found.", field="host")
    wishes = server.wishes
    if zone or unpin:
        wishes = msgspec.structs.replace(wishes, zone=zone or "")
    wishes = msgspec.structs.replace(wishes, host=host or "", node="")
    if host:
        moves.check(ctx, msgspec.structs.replace(server, wishes=wishes), Move(kind="unshelve", only=host))
    actions.begin(ctx, server, "unshelve")
    if server.vm_state == "shelved":
        ctx.db.change(server, task_state=WAYS["start"].doing, power="running", updated_at=clock.now(), shelved_at=None)
        _forget_image(ctx, server)
        ctx.start(ChangePower(server=server.id, way="start"))
        return
    shelved = server.shelved_image
    if shelved is not None:
        found = image.get(ctx.system(), shelved.id)
        shelved = msgspec.structs.replace(shelved, checksum=found.os_hash_value or found.checksum or "")
    ctx.db.change(
        server, task_state="unshelving", power="running", updated_at=clock.now(), wishes=wishes, shelved_image=shelved,
        generation=server.generation + 1,
    )  # fmt: skip
    for device in ctx.db.all(Device, Device.c.server_id == server.id, Device.c.destination == "volume"):
        ctx.db.change(device, connection=None)
    ctx.start(UnshelveServer(server=server.id))


def offload_overdue(program: Program) -> None:
    """Take the servers from their hosts that have been shelved for the configured time."""
    after = program.settings.compute.shelved_offload_time
    if after <= 0:
        return
    with program.db.transaction(write=False) as tx:
        due = tx.all(Server, Server.c.vm_state == "shelved", Server.c.task_state.is_(None), Server.c.shelved_at < clock.now() - after)
    for server in due:
        program.db.run(lambda tx, one=server.id: _offload_one(program.system_context(tx), one))


def _offload_one(ctx: Context, server_id: str) -> None:
    server = ctx.db.get(Server, server_id)
    if server is not None and server.vm_state == "shelved" and server.task_state is None:
        offload(ctx, server)


def _forget_image(ctx: Context, server: Server) -> None:
    """The shelved image of a server that never left its host is not needed."""
    if server.shelved_image is not None:
        letting_go.let_image_go(ctx.system(), server.shelved_image.id)
        ctx.db.change(server, shelved_image=None)
