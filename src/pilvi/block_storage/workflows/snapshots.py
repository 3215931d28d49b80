"""Make a snapshot, and have one gone."""

from __future__ import annotations

from typing import ClassVar

from pilvi.block_storage.operations import messages
from pilvi.block_storage.tables.volumes import Snapshot, Volume
from pilvi.block_storage.workflows.reach import agent_of, go_on
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import Workflow, effect, transaction


class CreateSnapshot(Workflow):
    """Have a point-in-time copy of the volume; it may be attached and running."""

    snapshot_id: str

    @property
    def subject(self) -> str:
        return self.snapshot_id

    @effect(within=7200, title="The back end makes the snapshot")
    def make(self, ctx: Context) -> None:
        with ctx.program.db.transaction(write=False) as tx:
            snapshot = tx.get(Snapshot, self.snapshot_id)
            volume = tx.get(Volume, snapshot.volume_id) if snapshot else None
        if snapshot is None or volume is None:
            raise HostError("The volume is gone.", elsewhere=False)
        go_on(agent_of(ctx.program, volume.host, request_id=ctx.request_id).ensure_snapshot(volume.id, snapshot.id))

    @transaction(title="The snapshot is available")
    def announce(self, ctx: Context) -> None:
        ctx.db.update(Snapshot, Snapshot.c.id == self.snapshot_id, status="available", progress="100%", updated_at=clock.now())

    def failed(self, ctx: Context, why: str) -> None:
        _fail(ctx, self.snapshot_id, "error", "snapshot_create", why)


class DeleteSnapshot(Workflow):
    """Have the snapshot gone, from every state."""

    preempts: ClassVar[bool] = True
    snapshot_id: str

    @property
    def subject(self) -> str:
        return self.snapshot_id

    @effect(within=3600, title="The back end removes the snapshot")
    def remove(self, ctx: Context) -> None:
        with ctx.program.db.transaction(write=False) as tx:
            snapshot = tx.get(Snapshot, self.snapshot_id)
            volume = tx.get(Volume, snapshot.volume_id) if snapshot else None
        if snapshot is not None and volume is not None and volume.host:
            agent_of(ctx.program, volume.host, request_id=ctx.request_id).remove_snapshot(volume.id, snapshot.id)

    @transaction(title="The snapshot is forgotten")
    def forget(self, ctx: Context) -> None:
        ctx.db.delete(Snapshot, Snapshot.c.id == self.snapshot_id)

    def failed(self, ctx: Context, why: str) -> None:
        _fail(ctx, self.snapshot_id, "error_deleting", "snapshot_delete", why)


def _fail(ctx: Context, snapshot_id: str, status: str, action: str, why: str) -> None:
    snapshot = ctx.db.get(Snapshot, snapshot_id)
    if snapshot is not None:
        ctx.db.change(snapshot, status=status, updated_at=clock.now())
        messages.tell(ctx, action, "VOLUME_SNAPSHOT", snapshot.id, snapshot.project_id, why)
