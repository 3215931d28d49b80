"""Grow a volume, take it back to its last snapshot, write an image over it."""

from __future__ import annotations

from pilvi.block_storage.events import VolumeChanged, VolumeExtended
from pilvi.block_storage.operations import attachments, messages
from pilvi.block_storage.tables.volumes import Attachment, Snapshot, Volume
from pilvi.block_storage.workflows.reach import agent_of, go_on, read, retry_while_copied
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import Workflow, effect, transaction


class ExtendVolume(Workflow):
    """Have the volume larger; servers that have it attached are told through an event."""

    volume_id: str
    new_size: int

    @property
    def subject(self) -> str:
        return self.volume_id

    @effect(within=600, title="The back end grows the volume")
    def grow(self, ctx: Context) -> None:
        volume = read(ctx, self.volume_id)
        try:
            agent_of(ctx.program, volume.host, request_id=ctx.request_id).ensure_size(volume.id, self.new_size)
        except HostError as error:
            retry_while_copied(ctx, self.volume_id, error)

    @transaction(title="The volume has its new size")
    def announce(self, ctx: Context) -> None:
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is None:
            return
        attachments.resume(ctx, volume, size=self.new_size)
        servers = [
            one.server_id
            for one in ctx.db.all(Attachment, Attachment.c.volume_id == volume.id, Attachment.c.status == "attached")
            if one.server_id
        ]
        if servers:
            ctx.publish(VolumeExtended(volume_id=volume.id, server_ids=servers, new_size=volume.size))
        ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="extend", status=volume.status))

    def failed(self, ctx: Context, why: str) -> None:
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is None:
            return
        if volume.previous_status == "in-use":  # an attached volume stays usable: its size is what it was
            attachments.resume(ctx, volume)
        else:
            ctx.db.change(volume, status="error_extending", previous_status=None, updated_at=clock.now())
        messages.tell(ctx, "extend", "VOLUME", volume.id, volume.project_id, why)


class RevertVolume(Workflow):
    """Have the volume's content as its last snapshot has it."""

    volume_id: str
    snapshot_id: str

    @property
    def subject(self) -> str:
        return self.volume_id

    @effect(within=7200, title="The back end takes the volume back to the snapshot")
    def revert(self, ctx: Context) -> None:
        volume = read(ctx, self.volume_id)
        go_on(agent_of(ctx.program, volume.host, request_id=ctx.request_id).ensure_reverted(volume.id, self.snapshot_id))

    @transaction(title="The volume is as the snapshot has it")
    def announce(self, ctx: Context) -> None:
        self._end(ctx, "available")

    def failed(self, ctx: Context, why: str) -> None:
        volume = self._end(ctx, "error")
        if volume is not None:
            messages.tell(ctx, "revert", "VOLUME", volume.id, volume.project_id, why)

    def _end(self, ctx: Context, status: str) -> Volume | None:
        ctx.db.update(Snapshot, Snapshot.c.id == self.snapshot_id, status="available", updated_at=clock.now())
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is not None:
            ctx.db.change(volume, status=status, previous_status=None, updated_at=clock.now())
            ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="revert", status=status))
        return volume


class ReimageVolume(Workflow):
    """Have an image's data in place of what the volume holds."""

    volume_id: str
    image_metadata: dict[str, str]

    @property
    def subject(self) -> str:
        return self.volume_id

    @effect(within=3600, title="The back end removes what the volume held")
    def clear(self, ctx: Context) -> None:
        volume = read(ctx, self.volume_id)
        try:
            agent_of(ctx.program, volume.host, request_id=ctx.request_id).remove_volume(volume.id, [])
        except HostError as error:
            retry_while_copied(ctx, self.volume_id, error)

    @effect(within=7200, title="The back end writes the image into the volume")
    def fill(self, ctx: Context) -> None:
        volume = read(ctx, self.volume_id)
        go_on(agent_of(ctx.program, volume.host, request_id=ctx.request_id).ensure_volume(volume.id))

    @transaction(title="The volume holds the image")
    def announce(self, ctx: Context) -> None:
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is not None:
            filled = {"image_id": volume.refill_image_id, "image_metadata": self.image_metadata, "bootable": True}
            attachments.resume(ctx, volume, refill_image_id=None, **filled)
            ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="reimage", status=volume.status))

    def failed(self, ctx: Context, why: str) -> None:
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is not None:
            ctx.db.change(volume, status="error", previous_status=None, refill_image_id=None, updated_at=clock.now())
            messages.tell(ctx, "reimage", "VOLUME", volume.id, volume.project_id, why)
            ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="reimage", status=volume.status))
