"""Snapshot a server: its root disk becomes an image; a server on volumes gets snapshots of those, and an image that names them."""

from __future__ import annotations

import tempfile
from typing import ClassVar

from pilvi import image
from pilvi.compute.agent import TOPIC as AGENT
from pilvi.compute.agent import ComputeAgent
from pilvi.compute.conductor import TOPIC, Conductor
from pilvi.compute.image_data import upload
from pilvi.compute.operations import actions, backups
from pilvi.compute.tables.servers import Server
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import agent, clock, log
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError, NotFound, Unavailable
from pilvi.kernel.workflows import Wait, Workflow, effect, transaction


class SnapshotServer(ServerWork):
    """Have the agent copy the root disk and upload it; the server goes on as it was."""

    image: str
    disk_format: str
    backup: str = ""  # the kind of backup, when it is one
    rotation: int = 0

    event: ClassVar[str] = "compute_snapshot_instance"
    what: ClassVar[str] = "createImage"

    @effect(within=4 * 3600)
    def copy(self, ctx: Context) -> None:
        """Copy the root disk as it is now and upload it."""
        server = self.read(ctx)
        self.until_done(self.agent(ctx, server.host).snapshot(self.server, self.image, self.disk_format, self.job(ctx, "snapshot")))

    @transaction
    def note(self, ctx: Context) -> None:
        """The image has its data."""
        server = self.load(ctx)
        if self.backup:
            backups.rotate(ctx, server, self.backup, self.rotation)
        ctx.db.change(server, task_state=None, updated_at=clock.now())
        actions.finish(ctx, server, self.event, self.what)

    def preempted(self, ctx: Context) -> None:
        image.fail(ctx.system(), self.image)
        drop_snapshot(ctx, self.server, self.image)

    def failed(self, ctx: Context, why: str) -> None:
        drop_snapshot(ctx, self.server, self.image)
        try:
            image.fail(ctx.system(), self.image)
        except NotFound:
            pass  # somebody deleted the image while it was being made
        server = self.load(ctx)
        ctx.db.change(server, task_state=None, updated_at=clock.now())
        actions.finish(ctx, server, self.event, self.what, why=why)


class SnapshotVolumes(ServerWork):
    """The image of a server on volumes has no data of its own: it is complete once it is declared so."""

    image: str

    event: ClassVar[str] = "api_snapshot_instance"
    what: ClassVar[str] = "createImage"

    @effect(within=600)
    def close(self, ctx: Context) -> None:
        """Give the image its empty data."""
        conductor = agent.remote(ctx.bus, Conductor, TOPIC)
        with tempfile.NamedTemporaryFile() as empty:
            upload(conductor, self.image, empty.name)

    @transaction
    def note(self, ctx: Context) -> None:
        """The snapshot is complete."""
        self._end(ctx)

    def preempted(self, ctx: Context) -> None:
        image.fail(ctx.system(), self.image)

    def failed(self, ctx: Context, why: str) -> None:
        image.fail(ctx.system(), self.image)
        self._end(ctx, why)

    def _end(self, ctx: Context, why: str = "") -> None:
        server = self.load(ctx)
        ctx.db.change(server, task_state=None, updated_at=clock.now())
        actions.finish(ctx, server, self.event, self.what, why=why)


class DropSnapshot(Workflow):
    """Have a snapshot gone from a host on which its making ended halfway."""

    server: str
    image: str
    host: str

    @property
    def subject(self) -> str:
        return f"{self.image[:36]}@{self.host}"[:64]  # what waits for a host ends in @ and its name

    @effect(within=365 * 86400.0)
    def drop(self, ctx: Context) -> None:
        """Remove the snapshot from the host, as soon as it can."""
        try:
            agent.remote(ctx.bus, ComputeAgent, AGENT, host=self.host, request_id=ctx.request_id).drop_snapshot(self.server, self.image)
        except (HostError, Unavailable) as error:
            raise Wait(60.0) from error

    def failed(self, ctx: Context, why: str) -> None:
        log.warning("a snapshot could not be removed from its host", image=self.image, host=self.host, why=why)


def drop_snapshot(ctx: Context, server_id: str, image_id: str) -> None:
    """The server's host has nothing of this snapshot any more, now or later."""
    server = ctx.db.get_to_change(Server, server_id)
    if server is not None and server.host:
        ctx.start(DropSnapshot(server=server_id, image=image_id, host=server.host))
