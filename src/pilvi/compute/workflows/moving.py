"""What all moves share: room on another host beside the room on this one, ports and volumes opened on both, and one switch.

Until the switch the server is where it was: whatever fails, or wins (delete, evacuation), takes back what was opened on
the other host, which is then cleaned.  The row says at each moment which two hosts have a part in the server.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pilvi import network, placement
from pilvi.compute.logic.moves import Move
from pilvi.compute.operations import volumes
from pilvi.compute.operations.zones import aggregates_of_hosts, zone_of
from pilvi.compute.scheduler import TOPIC as SCHEDULER
from pilvi.compute.scheduler import Scheduler
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.migrations import ENDED, Migration
from pilvi.compute.tables.servers import FlavorCopy, Server
from pilvi.compute.workflows.clean_host import CleanHost
from pilvi.compute.workflows.clean_host import subject as cleaning
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import agent, clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import Wait, effect, transaction


class MoveWork(ServerWork):
    """Work that takes a server to another host; `host` is that one, once it is chosen."""

    migration: str  # its uuid, under which the room on the host that is left is held
    move: Move
    flavor: FlavorCopy | None = None  # the size there, when it is another
    host: str = ""

    preparing: ClassVar[str] = "pre-migrating"  # the migration's status once the host is chosen
    doing: ClassVar[str] = ""  # the server's task_state then

    @property
    def where(self) -> str:
        return self.host

    @transaction
    def hold(self, ctx: Context) -> None:
        """What the server has of its host is held for the migration."""
        server = self.load(ctx)
        placement.move(ctx.db, server.id, self.migration)

    @effect(within=120)
    def choose_host(self, ctx: Context) -> None:
        """Ask the scheduler for a host; it claims the room there."""
        scheduler = agent.remote(ctx.bus, Scheduler, SCHEDULER, timeout=60, request_id=ctx.request_id)
        self.host = scheduler.choose(self.server, [], self.flavor, self.move).host

    @transaction
    def begin(self, ctx: Context) -> None:
        """Ports and volumes are bound to both hosts."""
        server = self.load(ctx)
        dest = ctx.db.get(ComputeHost, self.host)
        if dest is not None:
            note(ctx.db, self.migration, self.preparing, dest_host=dest.host, dest_node=dest.facts.hostname, dest_address=dest.facts.address)
        if not self.goes(server):
            self.stay_here(ctx, server)
            return
        volumes.reserve_there(ctx, server)
        for nic in server.nics:
            network.prepare_move(ctx.system(), nic.port_id, self.host)
        ctx.db.change(server, task_state=self.doing, new_flavor=self.flavor, updated_at=clock.now(), **self.wishes_there(server))

    @effect(within=300)
    def sweep(self, ctx: Context) -> None:
        """Wait until what an earlier visit left there is removed."""
        if not self.goes(self.read(ctx)):
            return
        with ctx.program.db.transaction(write=False) as tx:
            waiting = ctx.program.workflows.pending(tx, cleaning(self.host, self.server))
        if waiting:  # it finds that the server is coming, and ends
            ctx.program.workflows.write(lambda tx: ctx.program.workflows.wake(tx, cleaning(self.host, self.server)))
            raise Wait(0.5)

    @effect(within=300)
    def connect(self, ctx: Context) -> None:
        """Open the volumes' connections there."""
        if self.goes(self.read(ctx)):
            volumes.connect_there(ctx, self.server, self.host)

    # -- parts -------------------------------------------------------------------------------------

    def goes(self, server: Server) -> bool:
        """Whether the server really goes to another host."""
        return self.host != server.host

    def stay_here(self, ctx: Context, server: Server) -> None:
        """The scheduler chose the host where the server is: only a resize may be told so."""
        raise HostError(f"The server is on host {self.host} already.", elsewhere=False)

    def wishes_there(self, server: Server) -> dict[str, Any]:
        """What else is written when ports and volumes are bound to both hosts."""
        return {}

    def plug_there(self, ctx: Context) -> None:
        """Plug the ports on the host that it goes to (an effect)."""
        server = self.read(ctx)
        if server.nics:
            network.plug(ctx.program, self.server, self.host)

    def switch_to(self, ctx: Context, server: Server) -> dict[str, Any]:
        """Ports and volumes are those of the other host; answers what the row then says of where the server is."""
        for nic in server.nics:
            network.finish_move(ctx.system(), nic.port_id)
        volumes.take_there(ctx, server)
        return {**place_of(ctx, self.host), "new_flavor": None, "other_power": "", "updated_at": clock.now()}

    def preempted(self, ctx: Context) -> None:
        server = ctx.db.get_to_change(Server, self.server)
        if server is not None:
            stay(ctx, server, self.migration, "Something else was asked of the server.")


def stay(ctx: Context, server: Server, migration: str, why: str, *, status: str = "error") -> None:
    """The server stays where it is: give back what was taken on the other host, and clean it; said again, or after the switch, nothing."""
    if placement.allocations(ctx.db, migration):
        placement.release(ctx.db, server.id)
        placement.move(ctx.db, migration, server.id)
    row = ctx.db.one(Migration, Migration.c.uuid == migration)
    if row is not None and row.status not in ENDED:
        note(ctx.db, migration, "completed" if row.status == "post-migrating" else status, message=why)
    if server.other_host is None or server.old_flavor is not None:
        return
    volumes.drop_there(ctx, server)
    for nic in server.nics:
        network.abandon_move(ctx.system(), nic.port_id)
    ctx.start(CleanHost(server=server.id, host=server.other_host, ports=[nic.port_id for nic in server.nics]))
    ctx.db.change(server, other_host=None, other_power="", new_flavor=None)


def place_of(ctx: Context, host: str) -> dict[str, Any]:
    """What a server's row says of where it is, when it is on this host."""
    row = ctx.db.get(ComputeHost, host)
    zone = zone_of(aggregates_of_hosts(ctx.db).get(host, []), ctx.program.settings.compute.default_zone)
    return {"host": host, "node": row.facts.hostname if row is not None else host, "zone": zone, "other_host": None}


def note(tx: Transaction, migration: str, status: str, **values: Any) -> None:
    """Write how a migration stands."""
    tx.update(Migration, Migration.c.uuid == migration, status=status, updated_at=clock.now(), **values)
