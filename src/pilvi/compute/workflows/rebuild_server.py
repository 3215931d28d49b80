"""Rebuild a server: new disks from an image, on the same host, with its ports, volumes and name."""

from __future__ import annotations

from typing import ClassVar

from pilvi import network
from pilvi.compute.operations import volumes
from pilvi.compute.tables.servers import RUNNING, SHUTDOWN, Server
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.workflows import effect, transaction


class RebuildServer(ServerWork):
    """The row names the new image and a new generation of disks already."""

    event: ClassVar[str] = "compute_rebuild_instance"
    what: ClassVar[str] = "rebuild"

    @effect(within=7200)
    def prepare(self, ctx: Context) -> None:
        """Fetch the image and make the new disks beside the old ones."""
        server = self.read(ctx)
        self.until_done(self.agent(ctx, server.host).prepare(self.server, self.job(ctx, "prepare")))

    @transaction
    def spawn(self, ctx: Context) -> None:
        """The new disks are there."""
        ctx.db.change(self.load(ctx), task_state="rebuild_spawning")

    @effect(within=3600)
    def start(self, ctx: Context) -> None:
        """Start the machine from its new disks, and drop the old ones."""
        server: Server = self.read(ctx)
        volumes.connect(ctx, self.server, server.host or "")
        if server.nics:
            network.plug(ctx.program, self.server, server.host or "")
        self.until_done(self.agent(ctx, server.host).ensure(self.server, self.job(ctx, "ensure")))

    @transaction
    def announce(self, ctx: Context) -> None:
        """The server is what it was, on a new disk."""
        server = self.load(ctx)
        off = server.power == "shutoff"
        self.settle(
            ctx, server, vm_state="stopped" if off else "active", power_state=SHUTDOWN if off else RUNNING, launched_at=clock.now(), progress=100
        )
