"""Delete a server: from every state, at once; what lies on a host that does not answer is removed when it is back."""

from __future__ import annotations

from typing import ClassVar

from pilvi.compute.operations import letting_go, volumes
from pilvi.compute.operations.hosts import is_up
from pilvi.compute.tables.consoles import ConsoleToken
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import NOSTATE, Device
from pilvi.compute.workflows.clean_host import CleanHost, remove
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import clock, log
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError, NotFound, Unavailable
from pilvi.kernel.workflows import effect, transaction


class DeleteServer(ServerWork):
    """Take the machine from its host, give back what the server holds, and drop it."""

    host: str = ""
    ports: list[str] = []
    late: list[str] = []  # hosts that do not answer: they are cleaned when they do

    preempts: ClassVar[bool] = True
    event: ClassVar[str] = "compute_terminate_instance"
    what: ClassVar[str] = "delete"

    @effect(within=600)
    def take_from_host(self, ctx: Context) -> None:
        """Remove machine, ports and volume connections from the host (after a move: from both), if it answers."""
        server = self.read(ctx)
        self.host, self.ports = server.host or "", [nic.port_id for nic in server.nics]
        if not self.host:
            return
        self.late = []
        for host in filter(None, (self.host, server.other_host)):
            try:
                if not host_is_up(ctx, host):
                    raise Unavailable
                remove(ctx, self.server, host, self.ports)
            except (Unavailable, HostError):
                self.late.append(host)
        if not self.late:
            try:
                volumes.disconnect(ctx, self.server)
            except (Unavailable, HostError) as error:
                log.info("connections are closed later", server=self.server, why=error.message)

    @transaction
    def let_go(self, ctx: Context) -> None:
        """Give back what the server holds; it is deleted."""
        server = self.load(ctx)
        letting_go.give_back(ctx, server)
        ctx.db.delete(Device, Device.c.server_id == server.id)
        ctx.db.delete(ConsoleToken, ConsoleToken.c.server_id == server.id)
        now = clock.now()
        for host in self.late:
            ctx.start(CleanHost(server=self.server, host=host, ports=self.ports))
        self.settle(
            ctx, server, vm_state="deleted", deleted_at=now, terminated_at=now, power_state=NOSTATE, nics=[], fault=server.fault, updated_at=now,
            other_host=None, new_flavor=None,
        )  # fmt: skip

    def failed(self, ctx: Context, why: str) -> None:
        try:
            self.fall(ctx, why)
        except NotFound:
            return


def host_is_up(ctx: Context, host: str) -> bool:
    """Whether the host's agent has reported lately."""
    with ctx.program.db.transaction(write=False) as tx:
        known = tx.get(ComputeHost, host)
    return known is not None and is_up(ctx, known)
