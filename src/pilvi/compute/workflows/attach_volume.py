"""Attach a volume to a server, and detach it: block storage opens and closes, the hypervisor plugs and unplugs."""

from __future__ import annotations

from typing import ClassVar

from pilvi.compute.operations import actions, letting_go, volumes
from pilvi.compute.tables.servers import Device
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import clock, log
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError, NotFound
from pilvi.kernel.workflows import effect, transaction


class AttachVolume(ServerWork):
    """The device's row and its reservation are there; make it so."""

    device: str

    event: ClassVar[str] = "compute_attach_volume"
    what: ClassVar[str] = "attach_volume"

    @effect(within=300)
    def connect(self, ctx: Context) -> None:
        """Open the volume's connection on the host."""
        server = self.read(ctx)
        if server.host:
            volumes.connect(ctx, self.server, server.host, only=self.device)

    @effect(within=300)
    def plug(self, ctx: Context) -> None:
        """Plug the disk into the machine."""
        server = self.read(ctx)
        if server.host:
            self.until_done(self.agent(ctx, server.host).attach_disk(self.server, volume_of(ctx, self.device), self.job(ctx, "plug", self.device)))

    @transaction
    def note(self, ctx: Context) -> None:
        """The volume is in use."""
        server = self.load(ctx)
        volumes.complete(ctx, server, only=self.device)
        ctx.db.change(server, updated_at=clock.now())
        actions.finish(ctx, server, self.event, self.what)

    def failed(self, ctx: Context, why: str) -> None:
        """The volume is free again; the server is as it was."""
        server = self.load(ctx)
        device = ctx.db.get(Device, self.device)
        if device is not None:
            letting_go.let_volume_go(ctx.system(), device, delete=False)
            ctx.db.remove(device)
        actions.finish(ctx, server, self.event, self.what, why=why)


class DetachVolume(ServerWork):
    """Unplug the disk, close its connection, free the volume."""

    device: str

    event: ClassVar[str] = "compute_detach_volume"
    what: ClassVar[str] = "detach_volume"

    @effect(within=300)
    def unplug(self, ctx: Context) -> None:
        """Unplug the disk from the machine."""
        server = self.read(ctx)
        if server.host:
            self.until_done(self.agent(ctx, server.host).detach_disk(self.server, volume_of(ctx, self.device), self.job(ctx, "unplug", self.device)))

    @effect(within=300)
    def disconnect(self, ctx: Context) -> None:
        """Close the connection; block storage does it later where it cannot now."""
        try:
            volumes.disconnect(ctx, self.server, only=self.device)
        except HostError as error:
            log.info("a connection is closed later", server=self.server, why=error.message)

    @transaction
    def note(self, ctx: Context) -> None:
        """The volume is available."""
        server = self.load(ctx)
        device = ctx.db.get(Device, self.device)
        if device is not None:
            letting_go.let_volume_go(ctx.system(), device, delete=False)
            ctx.db.remove(device)
        ctx.db.change(server, updated_at=clock.now())
        actions.finish(ctx, server, self.event, self.what)

    def failed(self, ctx: Context, why: str) -> None:
        """The volume stays attached."""
        from pilvi import block_storage

        server = self.load(ctx)
        device = ctx.db.get(Device, self.device)
        if device is not None:
            block_storage.roll_detaching(ctx.system(), device.volume_id)
            ctx.db.change(device, state="attached")
        actions.finish(ctx, server, self.event, self.what, why=why)

    def preempted(self, ctx: Context) -> None:
        self.fail_preempted(ctx)


class GrowDisk(ServerWork):
    """Tell a server's machine that one of its volumes has grown."""

    volume: str
    size_gib: int

    event: ClassVar[str] = "compute_extend_volume"
    what: ClassVar[str] = "extend_volume"

    @effect(within=300)
    def grow(self, ctx: Context) -> None:
        """Tell the machine."""
        server = self.read(ctx)
        if server.host:
            self.agent(ctx, server.host).grow_disk(self.server, self.volume, self.size_gib)

    @transaction
    def note(self, ctx: Context) -> None:
        """The disk is as large as its volume."""
        actions.finish(ctx, self.load(ctx), self.event, self.what)

    def failed(self, ctx: Context, why: str) -> None:
        actions.finish(ctx, self.load(ctx), self.event, self.what, why=why)


def volume_of(ctx: Context, device_id: str) -> str:
    """The volume of a device: its disk's key within the machine."""
    with ctx.program.db.transaction(write=False) as tx:
        device = tx.get(Device, device_id)
    if device is None:
        raise NotFound(f"The server has no device {device_id} any more.")
    return device.volume_id
