"""What all work on servers shares: its subject, the host's agent, and how it ends."""

from __future__ import annotations

from typing import Any, ClassVar

from pilvi.compute.agent import TOPIC, ComputeAgent
from pilvi.compute.operations import actions
from pilvi.compute.tables.servers import Fault, Server
from pilvi.kernel import agent, clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError, NotFound
from pilvi.kernel.progress import Progress
from pilvi.kernel.workflows import Wait, Workflow

POLL = 5.0  # seconds until a long verb is asked again even if nobody told of its end


class ServerWork(Workflow):
    """Work on one server.  `event` names it among the server's action events, `what` in a word."""

    server: str
    traced: ClassVar[bool] = True
    event: ClassVar[str] = ""
    what: ClassVar[str] = ""

    @property
    def subject(self) -> str:
        return self.server

    def agent(self, ctx: Context, host: str | None, *, timeout: float = 60.0) -> ComputeAgent:
        """The agent of a host."""
        return agent.remote(ctx.bus, ComputeAgent, TOPIC, host=host or "-", timeout=timeout, request_id=ctx.request_id)

    def job(self, ctx: Context, step: str, *more: object) -> str:
        """The name of one wish for a long verb."""
        return ".".join(str(part) for part in (ctx.request_id, type(self).__name__, step, *more))

    def until_done(self, progress: Progress) -> None:
        """Wait while it works; raise HostError when it failed."""
        if progress.state == "working":
            raise Wait(POLL)
        if progress.state == "failed":
            raise HostError(progress.why, elsewhere=progress.elsewhere)

    def fail_preempted(self, ctx: Context) -> None:
        """For `preempted` of works after which the server lives on: what `failed` writes, unless the server is being deleted."""
        server = ctx.db.get_to_change(Server, self.server)
        if server is not None and server.deleted_at is None and server.task_state != "deleting":
            self.failed(ctx, "Something else was asked of the server.")

    def load(self, ctx: Context) -> Server:
        """The server's row, within a transaction step; nobody else changes it until that ends (what is asked of servers may add cards)."""
        server = ctx.db.get_to_change(Server, self.server)
        if server is None or server.deleted_at is not None:
            raise NotFound(kind="Instance", ref=self.server)
        return server

    def read(self, ctx: Context) -> Server:
        """The server's row, within an effect."""
        with ctx.program.db.transaction(write=False) as tx:
            server = tx.get(Server, self.server)
        if server is None or server.deleted_at is not None:
            raise NotFound(kind="Instance", ref=self.server)
        return server

    def settle(self, ctx: Context, server: Server, **values: Any) -> None:
        """Write what the server is now, with no task under way, and note that the action has ended well."""
        ctx.db.change(server, **({"task_state": None, "updated_at": clock.now(), "fault": None} | values))
        actions.finish(ctx, server, self.event, self.what)

    def fall(self, ctx: Context, why: str, *, vm_state: str | None = "error", **values: Any) -> Server | None:
        """Write that it failed: the server is in ERROR with the sentence, or (vm_state None) as it was; its row, if there is one."""
        server = ctx.db.get_to_change(Server, self.server)
        if server is None or server.deleted_at is not None:
            return None
        now = clock.now()
        values = {"task_state": None, "updated_at": now, "fault": Fault(code=500, message=why, created=now)} | values
        if vm_state is not None:
            values["vm_state"] = vm_state
        ctx.db.change(server, **values)
        actions.finish(ctx, server, self.event, self.what, why=why)
        return server

    def failed(self, ctx: Context, why: str) -> None:
        self.fall(ctx, why)
