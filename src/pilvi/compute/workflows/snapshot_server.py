"""Snapshot a server: its root disk becomes an image; a server on volumes gets snapshots of those, and an image that names them."""

from __future__ import annotations

import tempfile
from typing import ClassVar

from pilvi import image
from pilvi.compute.conductor import TOPIC, Conductor
from pilvi.compute.image_data import upload
from pilvi.compute.operations import actions, backups
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import agent, clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.kernel.workflows import effect, transaction


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

    def failed(self, ctx: Context, why: str) -> None:
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
