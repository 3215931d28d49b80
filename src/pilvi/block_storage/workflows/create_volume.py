"""Make a volume: choose its pool, fill it from its source, announce it."""

from __future__ import annotations

from pilvi.block_storage import scheduler
from pilvi.block_storage.events import VolumeChanged
from pilvi.block_storage.operations import messages
from pilvi.block_storage.tables.volumes import Volume
from pilvi.block_storage.workflows.reach import agent_of, go_on, read
from pilvi.kernel import agent, clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import HostError, NotFound, NoValidHost
from pilvi.kernel.workflows import Back, Workflow, effect, transaction


class CreateVolume(Workflow):
    """Have the volume in a back end; another one is tried when the first could not make it."""

    volume_id: str
    tries: int = 0
    why: str = ""
    unplaced: bool = False

    @property
    def subject(self) -> str:
        return self.volume_id

    @effect(within=600, title="The scheduler chooses a pool for the volume")
    def choose_pool(self, ctx: Context) -> None:
        chooser = agent.remote(ctx.program.bus, scheduler.Scheduler, scheduler.TOPIC, request_id=ctx.request_id)
        try:
            chooser.place(self.volume_id)
        except (NoValidHost, NotFound) as error:
            self.unplaced = True
            raise HostError(self.why or error.message) from error

    @effect(within=7200, title="The back end makes the volume")
    def make(self, ctx: Context) -> None:
        volume = read(ctx, self.volume_id)
        one = agent_of(ctx.program, volume.host, request_id=ctx.request_id)
        try:
            go_on(one.ensure_volume(self.volume_id))
        except HostError as error:
            self.tries += 1
            if not error.elsewhere or self.tries >= ctx.program.settings.block_storage.scheduler_tries:
                raise
            self.why = error.message
            one.remove_volume(self.volume_id, [])
            raise Back("choose_pool", lambda ctx: self._exclude(ctx.db, volume)) from error

    @transaction(title="The volume is available")
    def announce(self, ctx: Context) -> None:
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is None:
            return
        now = clock.now()
        ctx.db.change(volume, status="available", launched_at=now, updated_at=now, excluded_hosts=[])
        ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="create", status=volume.status))

    def failed(self, ctx: Context, why: str) -> None:
        volume = ctx.db.get_to_change(Volume, self.volume_id)
        if volume is None:
            return
        ctx.db.change(volume, status="error", updated_at=clock.now())
        action = "schedule" if self.unplaced else "from_image" if volume.image_id else "create"
        messages.tell(ctx, action, "VOLUME", volume.id, volume.project_id, why)
        ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="create", status=volume.status))

    def _exclude(self, tx: Transaction, volume: Volume) -> None:
        tx.update(Volume, Volume.c.id == volume.id, host="", excluded_hosts=[*volume.excluded_hosts, volume.host])
