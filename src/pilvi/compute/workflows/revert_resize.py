"""Revert a resize: back to the old size, and to the old host, whose disks nobody has touched."""

from __future__ import annotations

from typing import ClassVar

from pilvi import network, placement
from pilvi.compute.operations import volumes
from pilvi.compute.tables.servers import Server
from pilvi.compute.workflows.clean_host import CleanHost
from pilvi.compute.workflows.confirm_resize import resting
from pilvi.compute.workflows.moving import note, place_of
from pilvi.compute.workflows.return_server import ReturnServer, ensure_whole
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.workflows import effect, transaction


class RevertResize(ServerWork):
    """Go back to the old size and host; what was done on the new host is lost."""

    migration: str

    event: ClassVar[str] = "compute_revert_resize"
    what: ClassVar[str] = "revertResize"

    @transaction
    def reserve(self, ctx: Context) -> None:
        """The volumes are reserved for the old host as well."""
        server = self.load(ctx)
        if server.other_host:
            volumes.reserve_there(ctx, server)

    @effect(within=300)
    def connect(self, ctx: Context) -> None:
        """Open the volumes' connections there."""
        server = self.read(ctx)
        if server.other_host:
            volumes.connect_there(ctx, self.server, server.other_host)

    @effect(within=600)
    def stop(self, ctx: Context) -> None:
        """Shut the guest down where it is."""
        server = self.read(ctx)
        if server.other_host:
            patience = ctx.program.settings.compute.stop_timeout
            self.until_done(self.agent(ctx, server.host).shut_down(self.server, self.job(ctx, "stop"), patience))

    @transaction
    def turn_back(self, ctx: Context) -> None:
        """The old host, its room and the old size are the server's again."""
        server = self.load(ctx)
        left, back = server.host, server.other_host
        back_to_old(ctx, server, self.migration)
        if not left or not back:
            return
        for nic in server.nics:
            network.bind_port(ctx.system(), nic.port_id, back)
        volumes.take_there(ctx, server)
        ctx.db.change(server, **place_of(ctx, back))
        ctx.start(CleanHost(server=self.server, host=left, ports=[nic.port_id for nic in server.nics]))

    @effect(within=3600)
    def restart(self, ctx: Context) -> None:
        """Start the machine as it was."""
        ensure_whole(self, ctx)

    @transaction
    def announce(self, ctx: Context) -> None:
        """The server is as it was."""
        server = self.load(ctx)
        note(ctx.db, self.migration, "reverted")
        vm_state, power_state = resting(server)
        self.settle(ctx, server, vm_state=vm_state, power_state=power_state, launched_at=clock.now())

    def failed(self, ctx: Context, why: str) -> None:
        """Before it has turned back, it waits for its owner's word again."""
        server = self.load(ctx)
        if server.old_flavor is None:
            note(ctx.db, self.migration, "error", message=why)
            self.fall(ctx, why)
            return
        if server.other_host:
            volumes.drop_there(ctx, server)
        note(ctx.db, self.migration, "finished")
        self.fall(ctx, why, vm_state="resized", task_state="resize_finish")
        ctx.start(ReturnServer(server=self.server))


def back_to_old(ctx: Context, server: Server, migration: str) -> None:
    """Write the old size back, in the row and in placement."""
    old = server.old_flavor
    if old is None:
        return
    placement.release(ctx.db, server.id)
    placement.move(ctx.db, migration, server.id)
    ctx.db.change(server, flavor=old, flavor_id=old.flavorid, vcpus=old.vcpus, memory_mib=old.ram, old_flavor=None, updated_at=clock.now())
