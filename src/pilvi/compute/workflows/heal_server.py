"""Heal a server: make its machine what it shall be, where its host was found otherwise (after the host started anew)."""

from __future__ import annotations

from typing import ClassVar

from pilvi import network
from pilvi.compute.operations import volumes
from pilvi.compute.tables.servers import POWER_STATES
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import clock, log
from pilvi.kernel.context import Context
from pilvi.kernel.workflows import effect, transaction


class HealServer(ServerWork):
    """Connections, ports, then the machine, as after a start of the host."""

    host: str = ""

    event: ClassVar[str] = "compute_heal_instance"
    what: ClassVar[str] = "heal"

    @effect(within=600)
    def plug(self, ctx: Context) -> None:
        server = self.read(ctx)
        self.host = server.host or ""
        if not self.host:
            return
        volumes.connect(ctx, self.server, self.host)
        if server.nics:
            network.plug(ctx.program, self.server, self.host)

    @effect(within=7200)
    def ensure(self, ctx: Context) -> None:
        if self.host:
            self.until_done(self.agent(ctx, self.host).ensure(self.server, self.job(ctx, "ensure")))

    @transaction
    def note(self, ctx: Context) -> None:
        server = self.load(ctx)
        ctx.db.change(server, power_state=POWER_STATES[server.power], updated_at=clock.now())

    def failed(self, ctx: Context, why: str) -> None:
        log.warning("a server could not be healed", server=self.server, why=why)
        self.fall(ctx, why)
