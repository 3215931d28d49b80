"""Live-migrate a server: its machine goes to another host while its guest runs."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from pilvi import placement
from pilvi.compute.agent import ComputeAgent
from pilvi.compute.drivers import Arrival
from pilvi.compute.tables.migrations import Migration
from pilvi.compute.tables.servers import POWER_STATES, Server
from pilvi.compute.workflows.clean_host import CleanHost
from pilvi.compute.workflows.moving import MoveWork, note, stay
from pilvi.compute.workflows.return_server import ensure_whole
from pilvi.kernel import clock, log
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import HostError, Unavailable
from pilvi.kernel.workflows import Wait, effect, transaction

_LOOK = 2.0  # seconds between two looks at how far it is
_DAY = 86400.0


class LiveMigrate(MoveWork):
    """Make all ready on the other host, let the machine go there, and only then say that the server is there."""

    arrival: Arrival | None = None

    event: ClassVar[str] = "compute_live_migration"
    what: ClassVar[str] = "live-migration"
    preparing: ClassVar[str] = "preparing"
    doing: ClassVar[str] = "migrating"

    @effect(within=7200)
    def prepare(self, ctx: Context) -> None:
        """Have the images and the disks there, to be filled, or shared."""
        self.heed(ctx)
        left = self.read(ctx).host or ""
        self.until_done(self.agent(ctx, self.host).prepare_arrival(self.server, left, self.job(ctx, "prepare", self.host)))

    @effect(within=300)
    def plug(self, ctx: Context) -> None:
        """Plug the ports there as well."""
        self.heed(ctx)
        self.plug_there(ctx)

    @effect(within=300)
    def await_arrival(self, ctx: Context) -> None:
        """Have the other host await the machine."""
        self.heed(ctx)
        self.arrival = self.agent(ctx, self.host).await_arrival(self.server, self.read(ctx).host or "")

    @transaction
    def depart(self, ctx: Context) -> None:
        """The machine is about to go."""
        note(ctx.db, self.migration, "running")

    @effect(within=_DAY)
    def migrate(self, ctx: Context) -> None:
        """Let the machine go."""
        server = self.read(ctx)
        agent = self.agent(ctx, server.host)
        assert self.arrival is not None
        try:
            wish = self.wish(ctx)
            if wish == "abort":
                agent.abort_migrate(self.server)
            progress = agent.migrate(self.server, self.arrival, self.job(ctx, "migrate", self.host))
            if progress.state == "working":
                if wish == "force":
                    agent.hurry_migrate(self.server)
                self.measure(ctx, agent)
                raise Wait(_LOOK)
            if progress.state == "failed" and agent.power(self.server) not in ("running", "paused") and self.has_arrived(ctx, server):
                return
        except Unavailable as error:
            # whether the machine has left, only the hosts know: nothing is decided while none of them says it
            if self.has_arrived(ctx, server):
                return
            log.info("a live migration is not heard of", server=self.server, why=error.message)
            raise Wait(5 * _LOOK) from None
        self.until_done(progress)

    @transaction
    def switch(self, ctx: Context) -> None:
        """The server is there."""
        server = self.load(ctx)
        left = server.host or ""
        ctx.db.change(server, **self.switch_to(ctx, server))
        placement.release(ctx.db, self.migration)
        note(ctx.db, self.migration, "post-migrating")
        ctx.start(CleanHost(server=self.server, host=left, ports=[nic.port_id for nic in server.nics]))

    @effect(within=3600)
    def settle_in(self, ctx: Context) -> None:
        """Have all there as after a start, without disturbing the guest."""
        ensure_whole(self, ctx)

    @transaction
    def announce(self, ctx: Context) -> None:
        """The move is over."""
        server = self.load(ctx)
        note(ctx.db, self.migration, "completed")
        self.settle(ctx, server, power_state=POWER_STATES[server.power], progress=100)

    # -- parts -------------------------------------------------------------------------------------

    def has_arrived(self, ctx: Context, server: Server) -> bool:
        """Whether the machine runs on the other host (one that is awaited does not run there)."""
        return server.power == "running" and self.agent(ctx, self.host).power(self.server) == "running"

    def wish(self, ctx: Context) -> str:
        """What somebody said of this migration meanwhile."""
        with ctx.program.db.transaction(write=False) as tx:
            row = tx.one(Migration, Migration.c.uuid == self.migration)
        return row.wish if row is not None else ""

    def heed(self, ctx: Context) -> None:
        """End here when somebody aborted the migration."""
        if self.wish(ctx) == "abort":
            raise HostError("The migration was aborted.", elsewhere=False)

    def measure(self, ctx: Context, agent: ComputeAgent) -> None:
        """Note how far it is."""
        try:
            use = agent.move_use(self.server)
        except HostError:
            return  # the figures are for people only
        if use is not None:
            values = msgspec.structs.asdict(use)
            whole, done = use.memory_total + use.disk_total, use.memory_done + use.disk_done
            progress = min(99, 100 * done // whole) if whole else 0

            def write(tx: Transaction) -> None:
                tx.update(Server, Server.c.id == self.server, progress=progress)
                tx.update(Migration, Migration.c.uuid == self.migration, updated_at=clock.now(), **values)

            ctx.program.workflows.write(write)

    def failed(self, ctx: Context, why: str) -> None:
        """The guest runs where it ran; after the switch it runs there, and only what is around it is to be mended."""
        from pilvi.compute.workflows.heal_server import HealServer

        server = self.load(ctx)
        if server.host == self.host:
            log.warning("a server that has moved is not whole yet", server=self.server, why=why)
            note(ctx.db, self.migration, "completed", message=why)
            self.fall(ctx, why, vm_state=None)
            ctx.start(HealServer(server=self.server))
            return
        row = ctx.db.one(Migration, Migration.c.uuid == self.migration)
        stay(ctx, server, self.migration, why, status="cancelled" if row is not None and row.wish == "abort" else "error")
        self.fall(ctx, why, vm_state=None, progress=0)
