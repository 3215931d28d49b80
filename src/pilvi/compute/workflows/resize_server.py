"""Resize a server, or move it while it is off: on another host or on its own, until that is confirmed or reverted.

To another host its disks are carried; the old host keeps the machine, off, with its disks untouched, and the room that
it had is held by the migration, until its owner has spoken.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pilvi.compute.tables.servers import Server
from pilvi.compute.workflows.confirm_resize import confirmed, resting
from pilvi.compute.workflows.moving import MoveWork, note, stay
from pilvi.compute.workflows.return_server import ReturnServer, ensure_whole, withdraw
from pilvi.compute.workflows.revert_resize import back_to_old
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.workflows import effect, transaction


class ResizeServer(MoveWork):
    """Take room, carry the disks if it goes to another host, start the machine there; the server is then in VERIFY_RESIZE."""

    confirm: bool = False  # nobody is asked afterwards (a host is being drained)

    event: ClassVar[str] = "compute_finish_resize"
    what: ClassVar[str] = "resize"
    preparing: ClassVar[str] = "migrating"
    doing: ClassVar[str] = "resize_migrating"

    @effect(within=600)
    def stop(self, ctx: Context) -> None:
        """Shut the guest down."""
        server = self.read(ctx)
        if self.goes(server):
            patience = ctx.program.settings.compute.stop_timeout
            self.until_done(self.agent(ctx, server.host).shut_down(self.server, self.job(ctx, "stop"), patience))

    @effect(within=24 * 3600)
    def carry(self, ctx: Context) -> None:
        """Carry its disks to the other host."""
        server = self.read(ctx)
        if self.goes(server):
            offers = self.agent(ctx, server.host).offer_disks(self.server)
            self.until_done(self.agent(ctx, self.host).fetch_disks(self.server, offers, self.job(ctx, "fetch", self.host)))

    @effect(within=120)
    def withdraw(self, ctx: Context) -> None:
        """Let nobody read the disks any more."""
        server = self.read(ctx)
        if self.goes(server):
            withdraw(self, ctx, server)

    @effect(within=300)
    def plug(self, ctx: Context) -> None:
        """Plug the ports there."""
        if self.goes(self.read(ctx)):
            self.plug_there(ctx)

    @effect(within=3600)
    def restart(self, ctx: Context) -> None:
        """Start the machine, in its new size, where it shall be."""
        if self.goes(self.read(ctx)):
            self.until_done(self.agent(ctx, self.host).ensure(self.server, self.job(ctx, "ensure", self.host)))
        else:
            ensure_whole(self, ctx)

    @transaction
    def announce(self, ctx: Context) -> None:
        """The server is there, and waits for its owner's word."""
        server = self.load(ctx)
        values: dict[str, Any] = {"vm_state": "resized", "power_state": resting(server)[1], "launched_at": clock.now(), "progress": 100}
        if self.goes(server):
            left, old, new = server.host, server.flavor, self.flavor or server.flavor
            values |= self.switch_to(ctx, server) | {"other_host": left, "old_flavor": old}
            values |= {"flavor": new, "flavor_id": new.flavorid, "vcpus": new.vcpus, "memory_mib": new.ram}
        note(ctx.db, self.migration, "finished")
        self.settle(ctx, server, **values)
        if self.confirm:
            confirmed(ctx, server, self.migration)

    def stay_here(self, ctx: Context, server: Server) -> None:
        new = self.flavor or server.flavor
        ctx.db.change(
            server, task_state="resize_finish", old_flavor=server.flavor, flavor=new, flavor_id=new.flavorid, vcpus=new.vcpus, memory_mib=new.ram,
            updated_at=clock.now(), progress=0,
        )  # fmt: skip

    def failed(self, ctx: Context, why: str) -> None:
        """The server is where it was, as it was; one that was resized in place, and whose machine was touched, is in ERROR in its old size."""
        server = self.load(ctx)
        if server.old_flavor is not None:
            note(ctx.db, self.migration, "error", message=why)
            back_to_old(ctx, server, self.migration)
            self.fall(ctx, why)
            return
        touched = server.task_state == self.doing
        stay(ctx, server, self.migration, why)
        if touched:  # the guest may be down already: it is brought up again
            self.fall(ctx, why, vm_state=None, task_state=self.doing)
            ctx.start(ReturnServer(server=self.server))
        else:
            self.fall(ctx, why, vm_state=None)

    def preempted(self, ctx: Context) -> None:
        server = ctx.db.get_to_change(Server, self.server)
        if server is not None and server.old_flavor is not None:
            note(ctx.db, self.migration, "error", message="Something else was asked of the server.")
            back_to_old(ctx, server, self.migration)
        else:
            super().preempted(ctx)
