"""Evacuate a server: its host is down, so it is brought up on another, from its image or on the volumes that it has."""

from __future__ import annotations

from typing import Any, ClassVar

from pilvi import placement
from pilvi.compute.operations import volumes
from pilvi.compute.tables.servers import POWER_STATES, Server
from pilvi.compute.workflows.clean_host import CleanHost
from pilvi.compute.workflows.moving import MoveWork, note, stay
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import effect, transaction


class EvacuateServer(MoveWork):
    """Fence what the dead host may still hold, make the machine on another, and clean the dead one when it returns.

    Takes the place of all other work on the server: that waits for a host that does not answer.
    """

    off: bool = False  # it is not to run there

    preempts: ClassVar[bool] = True
    event: ClassVar[str] = "compute_rebuild_instance"
    what: ClassVar[str] = "evacuate"
    doing: ClassVar[str] = "rebuilding"

    @effect(within=300)
    def fence(self, ctx: Context) -> None:
        """Close the volumes for the host that is down: should it still run, it must not write to them."""
        volumes.disconnect(ctx, self.server)

    @effect(within=7200)
    def prepare(self, ctx: Context) -> None:
        """Fetch the image and make the disks anew."""
        self.until_done(self.agent(ctx, self.host).prepare(self.server, self.job(ctx, "prepare", self.host)))

    @transaction
    def spawn(self, ctx: Context) -> None:
        """The disks are there."""
        ctx.db.change(self.load(ctx), task_state="rebuild_spawning", updated_at=clock.now())

    @effect(within=300)
    def plug(self, ctx: Context) -> None:
        """Plug the ports there."""
        self.plug_there(ctx)

    @effect(within=3600)
    def start(self, ctx: Context) -> None:
        """Start the machine there."""
        self.until_done(self.agent(ctx, self.host).ensure(self.server, self.job(ctx, "ensure", self.host)))

    @transaction
    def announce(self, ctx: Context) -> None:
        """The server is there; its old host is cleaned when it returns."""
        server = self.load(ctx)
        left = server.host or ""
        power = self.power
        values: dict[str, Any] = {"power": power, "power_state": POWER_STATES[power], "vm_state": "stopped" if self.off else "active"}
        if server.image_id:
            values |= {"base": None}
        placement.release(ctx.db, self.migration)
        note(ctx.db, self.migration, "done")
        values |= self.switch_to(ctx, server) | {"generation": server.generation + 1, "launched_at": clock.now(), "progress": 100}
        self.settle(ctx, server, **values)
        ctx.start(CleanHost(server=self.server, host=left, ports=[nic.port_id for nic in server.nics]))

    # -- parts -------------------------------------------------------------------------------------

    @property
    def power(self) -> Any:
        """What the machine shall be there."""
        return "shutoff" if self.off else "running"

    def wishes_there(self, server: Server) -> dict[str, Any]:
        return {"other_power": self.power}

    def stay_here(self, ctx: Context, server: Server) -> None:
        raise HostError(f"Host {self.host} is the one that is down.", elsewhere=False)

    def failed(self, ctx: Context, why: str) -> None:
        """The server is where it was: on a host that is down, from which it can be evacuated again, or which may return."""
        server = self.load(ctx)
        stay(ctx, server, self.migration, why)
        self.fall(ctx, why, vm_state=None)
