"""Shelve a server: its disk goes to an image and it leaves its host; unshelve brings it back, on whatever host fits."""

from __future__ import annotations

from typing import ClassVar

from pilvi import network, placement
from pilvi.compute.operations import letting_go, volumes
from pilvi.compute.tables.servers import NOSTATE, RUNNING, SHUTDOWN, ImageCopy
from pilvi.compute.workflows.clean_host import CleanHost, remove
from pilvi.compute.workflows.create_server import CreateServer
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.compute.workflows.snapshot_server import drop_snapshot
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.workflows import effect, transaction


class ShelveServer(ServerWork):
    """Turn the machine off and keep its disk as an image."""

    kept: ImageCopy | None  # the image that keeps the disk; None for a server on a volume
    disk_format: str

    event: ClassVar[str] = "compute_shelve_instance"
    what: ClassVar[str] = "shelve"

    @effect(within=600)
    def stop(self, ctx: Context) -> None:
        """Shut the guest down."""
        server = self.read(ctx)
        patience = ctx.program.settings.compute.stop_timeout
        self.until_done(self.agent(ctx, server.host).shut_down(self.server, self.job(ctx, "stop"), patience))

    @effect(within=4 * 3600)
    def copy(self, ctx: Context) -> None:
        """Upload the root disk."""
        if self.kept is not None:
            server = self.read(ctx)
            self.until_done(self.agent(ctx, server.host).snapshot(self.server, self.kept.id, self.disk_format, self.job(ctx, "snapshot")))

    @transaction
    def note(self, ctx: Context) -> None:
        """The server is shelved; it leaves its host at once, later, or never, as the settings say."""
        server = self.load(ctx)
        self.settle(ctx, server, vm_state="shelved", power_state=SHUTDOWN, shelved_at=clock.now(), shelved_image=self.kept)
        if self.kept is None or ctx.program.settings.compute.shelved_offload_time == 0:
            ctx.db.change(server, task_state="shelving_offloading")
            ctx.start(OffloadServer(server=self.server))

    def preempted(self, ctx: Context) -> None:
        if self.kept is not None:
            letting_go.let_image_go(ctx.system(), self.kept.id)
            drop_snapshot(ctx, self.server, self.kept.id)

    def failed(self, ctx: Context, why: str) -> None:
        self.preempted(ctx)
        self.fall(ctx, why, vm_state="stopped", shelved_image=None, power="shutoff", power_state=SHUTDOWN)


class OffloadServer(ServerWork):
    """Take a shelved server from its host."""

    host: str = ""

    event: ClassVar[str] = "compute_shelve_offload_instance"
    what: ClassVar[str] = "shelveOffload"

    @effect(within=600)
    def leave(self, ctx: Context) -> None:
        """Remove the machine, ports and connections from the host."""
        server = self.read(ctx)
        self.host = server.host or ""
        if self.host:
            remove(ctx, self.server, self.host, [nic.port_id for nic in server.nics])
            volumes.disconnect(ctx, self.server)

    @transaction
    def note(self, ctx: Context) -> None:
        """The host's room is free."""
        server = self.load(ctx)
        for nic in server.nics:
            network.unbind_port(ctx.system(), nic.port_id)
        for device in volumes.of_server(ctx, self.server):
            ctx.db.change(device, connection=None)
        placement.release(ctx.db, self.server)
        self.settle(ctx, server, vm_state="shelved_offloaded", power_state=NOSTATE, host=None, node=None)


class UnshelveServer(CreateServer):
    """The road of creating, with the disk from the shelved image, its ports and volumes."""

    event: ClassVar[str] = "compute_unshelve_instance"
    what: ClassVar[str] = "unshelve"

    @transaction
    def announce(self, ctx: Context) -> None:
        """The server is ACTIVE again; the image that kept its disk goes."""
        server = self.load(ctx)
        volumes.complete(ctx, server)
        if server.shelved_image is not None:
            letting_go.let_image_go(ctx.system(), server.shelved_image.id)
        self.settle(
            ctx, server, vm_state="active", power_state=RUNNING, launched_at=clock.now(), progress=100, shelved_image=None, shelved_at=None,
            base=server.shelved_image if server.shelved_image is not None else server.base,
        )  # fmt: skip

    def failed(self, ctx: Context, why: str) -> None:
        """It stays offloaded, with all that it has."""
        server = self.load(ctx)
        placement.release(ctx.db, self.server)
        for nic in server.nics:
            network.unbind_port(ctx.system(), nic.port_id)
        if self.host:
            ctx.start(CleanHost(server=self.server, host=self.host, ports=[nic.port_id for nic in server.nics]))
        ServerWork.fall(self, ctx, why, vm_state="shelved_offloaded", host=None, node=None, power="shutoff")
