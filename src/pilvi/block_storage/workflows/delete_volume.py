"""Have a volume gone, from every state."""

from __future__ import annotations

from typing import ClassVar

from pilvi.block_storage.events import VolumeChanged
from pilvi.block_storage.operations import messages
from pilvi.block_storage.tables.volumes import Attachment, Snapshot, Transfer, Volume
from pilvi.block_storage.workflows.reach import BUSY, agent_of, has_heirs, retry_while_copied
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import Wait, Workflow, effect, transaction


class DeleteVolume(Workflow):
    """Have nothing of the volume in its back end, nor of its snapshots (only with a cascade are there any)."""

    preempts: ClassVar[bool] = True
    volume_id: str

    @property
    def subject(self) -> str:
        return self.volume_id

    @effect(within=3600, title="The back end removes the volume")
    def remove(self, ctx: Context) -> None:
        with ctx.program.db.transaction(write=False) as tx:
            volume = tx.get(Volume, self.volume_id)
            if volume is None or not volume.host:
                return
            snapshots = [one.id for one in tx.all(Snapshot, Snapshot.c.volume_id == self.volume_id)]
            attachments = [one.id for one in tx.all(Attachment, Attachment.c.volume_id == self.volume_id)]
            heirs = has_heirs(tx, self.volume_id, snapshots)
        if heirs:
            raise Wait(BUSY)
        one = agent_of(ctx.program, volume.host, request_id=ctx.request_id)
        if volume.copy_id:
            one.remove_copy(volume.copy_id)
        for snapshot_id in snapshots:
            one.remove_snapshot(self.volume_id, snapshot_id)
        try:
            one.remove_volume(self.volume_id, attachments)
        except HostError as error:
            retry_while_copied(ctx, self.volume_id, error)

    @transaction(title="The volume is forgotten")
    def forget(self, ctx: Context) -> None:
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is None:
            return
        ctx.db.delete(Attachment, Attachment.c.volume_id == volume.id)
        ctx.db.delete(Transfer, Transfer.c.volume_id == volume.id)
        for snapshot in ctx.db.all(Snapshot, Snapshot.c.volume_id == volume.id):
            ctx.program.workflows.forget(ctx.db, snapshot.id)
            ctx.db.remove(snapshot)
        ctx.db.remove(volume)
        ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="delete", status="deleted"))

    def failed(self, ctx: Context, why: str) -> None:
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is None:
            return
        ctx.db.change(volume, status="error_deleting", updated_at=clock.now())
        ctx.db.update(Snapshot, Snapshot.c.volume_id == volume.id, Snapshot.c.status == "deleting", status="error_deleting")
        messages.tell(ctx, "delete", "VOLUME", volume.id, volume.project_id, why)
        ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="delete", status=volume.status))
