"""Return a server: a move failed after its guest was shut down, so it is brought up again where it is."""

from __future__ import annotations

from typing import ClassVar

from pilvi import network
from pilvi.compute.operations import volumes
from pilvi.compute.tables.servers import POWER_STATES, Server
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import log
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError, Unavailable
from pilvi.kernel.workflows import effect, transaction


class ReturnServer(ServerWork):
    """Have the machine as it was before the move was asked for; the server's state has not changed meanwhile."""

    event: ClassVar[str] = "compute_return_instance"
    what: ClassVar[str] = "return"

    @effect(within=120)
    def withdraw(self, ctx: Context) -> None:
        """Let nobody read its disks any more."""
        withdraw(self, ctx, self.read(ctx))

    @effect(within=3600)
    def restart(self, ctx: Context) -> None:
        """Have the machine in the power state that it shall have."""
        ensure_whole(self, ctx)

    @transaction
    def note(self, ctx: Context) -> None:
        """The server is as it was."""
        server = self.load(ctx)
        self.settle(ctx, server, power_state=POWER_STATES[server.power])


def withdraw(work: ServerWork, ctx: Context, server: Server) -> None:
    """Have the disks on the server's host offered to nobody; a host that cannot does it when the machine starts, or is removed."""
    try:
        work.agent(ctx, server.host).withdraw_disks(server.id)
    except (HostError, Unavailable) as error:
        log.warning("a machine's disks are still offered", server=server.id, host=server.host or "", why=error.message)


def ensure_whole(work: ServerWork, ctx: Context) -> None:
    """Connections, ports and machine as the row says, on the server's host."""
    server = work.read(ctx)
    volumes.connect(ctx, server.id, server.host or "")
    if server.nics:
        network.plug(ctx.program, server.id, server.host or "")
    work.until_done(work.agent(ctx, server.host).ensure(server.id, work.job(ctx, "ensure")))
