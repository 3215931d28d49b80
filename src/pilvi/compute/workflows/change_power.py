"""Change power: start, stop, pause, suspend, reboot and their opposites; one road, by the table of ways."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from pilvi import network
from pilvi.compute.drivers import Power
from pilvi.compute.operations import actions, volumes
from pilvi.compute.tables.servers import POWER_STATES, Server
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import effect, transaction


class Way(NamedTuple):
    """One way to change power: what is written while it is under way, and what the server is afterwards."""

    doing: str  # task_state
    power: Power  # what the machine shall be
    vm_state: str
    event: str
    whole: bool = False  # connections and ports are opened before, as after a start of the host


WAYS: dict[str, Way] = {
    "start": Way("powering-on", "running", "active", "compute_start_instance", whole=True),
    "stop": Way("powering-off", "shutoff", "stopped", "compute_stop_instance"),
    "pause": Way("pausing", "paused", "paused", "compute_pause_instance"),
    "unpause": Way("unpausing", "running", "active", "compute_unpause_instance"),
    "suspend": Way("suspending", "suspended", "suspended", "compute_suspend_instance"),
    "resume": Way("resuming", "running", "active", "compute_resume_instance", whole=True),
    "reboot": Way("rebooting", "running", "active", "compute_reboot_instance"),
    "hard reboot": Way("rebooting_hard", "running", "active", "compute_reboot_instance", whole=True),
    "rescue": Way("rescuing", "running", "rescued", "compute_rescue_instance", whole=True),
    "unrescue": Way("unrescuing", "running", "active", "compute_unrescue_instance", whole=True),
    "softDelete": Way("soft-deleting", "shutoff", "soft-delete", "compute_soft_delete_instance"),
    "restore": Way("restoring", "running", "active", "compute_restore_instance", whole=True),
}


class ChangePower(ServerWork):
    """Bring a server's machine into another power state."""

    way: str
    hard: bool = False  # a soft reboot that the guest did not heed becomes a hard one

    what: ClassVar[str] = "power"

    @effect(within=600)
    def open_ways(self, ctx: Context) -> None:
        """Connect volumes and plug ports where the machine starts anew."""
        if not WAYS[self.way].whole:
            return
        server = self.read(ctx)
        volumes.connect(ctx, self.server, server.host or "")
        if server.nics:
            network.plug(ctx.program, self.server, server.host or "")

    @effect(within=3600)
    def change(self, ctx: Context) -> None:
        """Have the host's agent change the machine."""
        server = self.read(ctx)
        agent = self.agent(ctx, server.host)
        if self.way in ("stop", "softDelete"):
            patience = ctx.program.settings.compute.stop_timeout
            self.until_done(agent.shut_down(self.server, self.job(ctx, self.way), patience))
            return
        if self.way == "reboot" and not self.hard:
            try:
                self.until_done(agent.reboot(self.server, self.job(ctx, "reboot")))
                return
            except HostError:  # the guest cannot be asked: it is reset
                self.hard = True
                ctx.program.workflows.write(lambda tx: tx.update(Server, Server.c.id == self.server, reboots=server.reboots + 1))
        self.until_done(agent.ensure(self.server, self.job(ctx, self.way)))

    @transaction
    def note(self, ctx: Context) -> None:
        """The server is what was wished."""
        server, way = self.load(ctx), WAYS[self.way]
        waits = server.old_flavor is not None and way.vm_state in ("active", "stopped")  # for its owner's word, since before it was in ERROR
        values: dict[str, Any] = {"vm_state": "resized" if waits else way.vm_state, "power_state": POWER_STATES[way.power]}
        if self.way == "restore":
            values["deleted_at"] = None
        ctx.db.change(server, task_state=None, updated_at=clock.now(), fault=None, **values)
        actions.finish(ctx, server, way.event, self.way)

    def failed(self, ctx: Context, why: str) -> None:
        """As nova: the server stays what it was where that is known, and is in ERROR where its machine may be anything."""
        server = self.load(ctx)
        way = WAYS[self.way]
        stays = self.way in ("stop", "pause", "unpause", "suspend", "start", "softDelete")
        was: dict[str, Power] = {"active": "running", "stopped": "shutoff", "paused": "paused", "suspended": "suspended", "error": "running"}
        values = {"power": was.get(server.vm_state, way.power)} if stays else {}
        self.fall(ctx, why, vm_state=server.vm_state if stays else "error", **values)
