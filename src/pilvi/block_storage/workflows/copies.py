"""Copies of volumes: uploaded as images, or kept as backups and restored."""

from __future__ import annotations

from typing import ClassVar

from pilvi.block_storage import scheduler
from pilvi.block_storage.agent import BACKUP_FORMAT
from pilvi.block_storage.events import VolumeChanged
from pilvi.block_storage.operations import attachments, messages
from pilvi.block_storage.tables.volumes import Backup, Volume
from pilvi.block_storage.workflows.reach import agent_of, go_on, read, retry_while_copied
from pilvi.kernel import agent, clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError, NotFound
from pilvi.kernel.workflows import Wait, Workflow, effect, transaction


class UploadVolume(Workflow):
    """Have a copy of the volume as the data of an image."""

    volume_id: str
    image_id: str
    disk_format: str

    @property
    def subject(self) -> str:
        return self.volume_id

    @effect(within=7200, title="The back end copies the volume")
    def copy(self, ctx: Context) -> None:
        volume = read(ctx, self.volume_id)
        go_on(agent_of(ctx.program, volume.host, request_id=ctx.request_id).ensure_copy(volume.id, "", self.image_id, self.disk_format))

    @effect(within=7200, title="The copy is uploaded as an image")
    def upload(self, ctx: Context) -> None:
        from pilvi import image

        with ctx.program.db.transaction(write=False) as tx:
            known = image.many(ctx.program.system_context(tx), [self.image_id])
        if self.image_id not in known:
            raise HostError(f"Image {self.image_id} was deleted meanwhile.", elsewhere=False)
        if known[self.image_id].status == "active":  # it was uploaded before a restart
            return
        volume = read(ctx, self.volume_id)
        go_on(agent_of(ctx.program, volume.host, request_id=ctx.request_id).upload_copy(volume.id, self.image_id, self.image_id))

    @transaction(title="The image has the volume's data")
    def announce(self, ctx: Context) -> None:
        self._end(ctx)

    def failed(self, ctx: Context, why: str) -> None:
        from pilvi import image

        volume = self._end(ctx)
        if volume is not None:
            messages.tell(ctx, "upload", "VOLUME", volume.id, volume.project_id, why)
        image.fail(ctx.system(), self.image_id)

    def _end(self, ctx: Context) -> Volume | None:
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is not None:
            attachments.resume(ctx, volume, copy_id=None)
            ctx.start(SweepCopy(copy_id=self.image_id, host=volume.host))
            ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="upload", status=volume.status))
        return volume


class SweepCopy(Workflow):
    """Have a copy gone that is not needed any more."""

    copy_id: str
    host: str

    @property
    def subject(self) -> str:
        return f"copy-{self.copy_id}"

    @effect(within=86400, title="The back end removes a copy")
    def remove(self, ctx: Context) -> None:
        try:
            agent_of(ctx.program, self.host, request_id=ctx.request_id).remove_copy(self.copy_id)
        except HostError as error:
            raise Wait(60.0) from error

    def failed(self, ctx: Context, why: str) -> None:
        """The worker has logged it; the copy is found again by the checks."""


class CreateBackup(Workflow):
    """Have a full copy of the volume (or of a snapshot of it) that outlives it."""

    backup_id: str
    volume_host: str

    @property
    def subject(self) -> str:
        return self.backup_id

    @effect(within=7200, title="The back end copies the volume")
    def copy(self, ctx: Context) -> None:
        with ctx.program.db.transaction(write=False) as tx:
            backup = tx.get(Backup, self.backup_id)
        if backup is None:
            raise HostError("The backup is gone.", elsewhere=False)
        one = agent_of(ctx.program, self.volume_host, request_id=ctx.request_id)
        go_on(one.ensure_copy(backup.volume_id, backup.snapshot_id or "", backup.copy_id, BACKUP_FORMAT))

    @transaction(title="The backup is available")
    def announce(self, ctx: Context) -> None:
        self._end(ctx, "available", None)

    def failed(self, ctx: Context, why: str) -> None:
        backup = self._end(ctx, "error", why)
        if backup is not None:
            messages.tell(ctx, "backup_create", "VOLUME_BACKUP", backup.id, backup.project_id, why)
            ctx.start(SweepCopy(copy_id=backup.copy_id, host=self.volume_host))

    def _end(self, ctx: Context, status: str, why: str | None) -> Backup | None:
        backup = ctx.db.get(Backup, self.backup_id)
        if backup is not None:
            ctx.db.change(backup, status=status, fail_reason=why, updated_at=clock.now())
            release_volume(ctx, backup.volume_id)
        return backup


def release_volume(ctx: Context, volume_id: str) -> None:
    """A volume that was being backed up is what it was before."""
    volume = ctx.db.get_to_change(Volume, volume_id)
    if volume is not None and volume.status == "backing-up":
        attachments.resume(ctx, volume)


class DeleteBackup(Workflow):
    """Have the backup gone, from every state."""

    preempts: ClassVar[bool] = True
    backup_id: str

    @property
    def subject(self) -> str:
        return self.backup_id

    @effect(within=3600, title="The back end removes the backup")
    def remove(self, ctx: Context) -> None:
        with ctx.program.db.transaction(write=False) as tx:
            backup = tx.get(Backup, self.backup_id)
            shared = backup is not None and tx.count(Backup, Backup.c.copy_id == backup.copy_id) > 1
        if backup is not None and backup.host and not shared:
            agent_of(ctx.program, backup.host, request_id=ctx.request_id).remove_copy(backup.copy_id)

    @transaction(title="The backup is forgotten")
    def forget(self, ctx: Context) -> None:
        backup = ctx.db.get(Backup, self.backup_id)
        if backup is not None:
            release_volume(ctx, backup.volume_id)
            ctx.db.remove(backup)

    def failed(self, ctx: Context, why: str) -> None:
        backup = ctx.db.get(Backup, self.backup_id)
        if backup is not None:
            ctx.db.change(backup, status="error_deleting", fail_reason=why, updated_at=clock.now())
            messages.tell(ctx, "backup_delete", "VOLUME_BACKUP", backup.id, backup.project_id, why)


class RestoreBackup(Workflow):
    """Have the backup's content in a volume: in a new one, or in place of what one holds."""

    volume_id: str
    backup_id: str

    @property
    def subject(self) -> str:
        return self.volume_id

    @effect(within=600, title="The scheduler chooses a pool for the volume")
    def choose_pool(self, ctx: Context) -> None:
        if read(ctx, self.volume_id).host:
            return
        try:
            agent.remote(ctx.program.bus, scheduler.Scheduler, scheduler.TOPIC, request_id=ctx.request_id).place(self.volume_id)
        except NotFound as error:
            raise HostError(error.message) from error

    @effect(within=3600, title="The back end removes what the volume held")
    def clear(self, ctx: Context) -> None:
        volume = read(ctx, self.volume_id)
        try:
            agent_of(ctx.program, volume.host, request_id=ctx.request_id).remove_volume(volume.id, [])
        except HostError as error:
            retry_while_copied(ctx, self.volume_id, error)

    @effect(within=7200, title="The back end writes the backup into the volume")
    def fill(self, ctx: Context) -> None:
        volume = read(ctx, self.volume_id)
        go_on(agent_of(ctx.program, volume.host, request_id=ctx.request_id).ensure_volume(volume.id))

    @transaction(title="The volume holds what the backup has")
    def announce(self, ctx: Context) -> None:
        self._end(ctx, "available")

    def failed(self, ctx: Context, why: str) -> None:
        volume = self._end(ctx, "error_restoring")
        if volume is not None:
            messages.tell(ctx, "backup_restore", "VOLUME_BACKUP", self.backup_id, volume.project_id, why)

    def _end(self, ctx: Context, status: str) -> Volume | None:
        now = clock.now()
        ctx.db.update(Backup, Backup.c.id == self.backup_id, Backup.c.status == "restoring", status="available", updated_at=now)
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is not None:
            ctx.db.change(volume, status=status, restored_from=None, previous_status=None, launched_at=volume.launched_at or now, updated_at=now)
            ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="restore", status=status))
        return volume
