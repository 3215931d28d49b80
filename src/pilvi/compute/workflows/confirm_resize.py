"""Confirm a resize: the room of the old size, and what the server left on its old host, are given back."""

from __future__ import annotations

from typing import ClassVar

from pilvi import placement
from pilvi.compute.tables.servers import RUNNING, SHUTDOWN, Server
from pilvi.compute.workflows.clean_host import CleanHost
from pilvi.compute.workflows.moving import note
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel.context import Context
from pilvi.kernel.workflows import transaction


class ConfirmResize(ServerWork):
    """Keep the new size and the new host."""

    migration: str

    event: ClassVar[str] = "compute_confirm_resize"
    what: ClassVar[str] = "confirmResize"

    @transaction
    def confirm(self, ctx: Context) -> None:
        server = self.load(ctx)
        confirmed(ctx, server, self.migration)
        self.settle(ctx, server)

    def failed(self, ctx: Context, why: str) -> None:
        """It waits for its owner's word again."""
        note(ctx.db, self.migration, "finished")
        self.fall(ctx, why, vm_state="resized")


def confirmed(ctx: Context, server: Server, migration: str) -> None:
    """Write that there is no way back; the old host is cleaned, now or when it answers."""
    placement.release(ctx.db, migration)
    note(ctx.db, migration, "confirmed")
    left = server.other_host
    ctx.db.change(server, vm_state=resting(server)[0], old_flavor=None, other_host=None)
    if left:
        ctx.start(CleanHost(server=server.id, host=left, ports=[nic.port_id for nic in server.nics]))


def resting(server: Server) -> tuple[str, int]:
    """The vm_state and power_state of a server whose machine is as it shall be."""
    return ("stopped", SHUTDOWN) if server.power == "shutoff" else ("active", RUNNING)
