"""Workflows of image: an import, which begins anew after a crash and leaves nothing half done."""

from __future__ import annotations

from collections.abc import Iterator

from pilvi.image import web
from pilvi.image.operations import data
from pilvi.image.tables import Image, Task
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError, NotFound
from pilvi.kernel.workflows import Workflow, effect, transaction


class ImportImage(Workflow):
    """Bring an image's data from where it was staged, or from the web, into the store."""

    image_id: str
    task_id: str
    staged: bool
    uri: str = ""
    written: data.Written | None = None

    @property
    def subject(self) -> str:
        return self.image_id

    @transaction(title="The task is being worked on")
    def take_up(self, ctx: Context) -> None:
        self._note(ctx, "processing")

    @effect(within=4 * 3600, title="Write the data into the store, hashed and inspected")
    def bring(self, ctx: Context) -> None:
        with ctx.program.db.transaction(write=False) as tx:
            image = tx.get(Image, self.image_id)
            if image is None:
                return
            most = data.room_left(ctx.program.context(tx), image)
        self.written = data.write(ctx.program, data.store(ctx.program), image, self._pieces(ctx), most=most, alive=lambda: None)
        data.remove_unless_known(ctx.program, self.image_id)

    @transaction(title="The image is active")
    def finish(self, ctx: Context) -> None:
        image = ctx.db.get_to_change(Image, self.image_id)
        if image is None or self.written is None:
            self._note(ctx, "failure", "The image was deleted while it was being imported.")
            return
        data.activate(ctx, image, self.written)
        self._note(ctx, "success")

    @effect(title="Remove what was staged")
    def sweep(self, ctx: Context) -> None:
        data.staging(ctx.program).remove(self.image_id)

    def failed(self, ctx: Context, why: str) -> None:
        image = ctx.db.get_to_change(Image, self.image_id)
        if image is not None and image.importing:
            ctx.db.change(image, status="queued", size=None, importing=False, failed_import=True, updated_at=clock.now())
        self._note(ctx, "failure", why)
        ctx.after_commit(lambda: data.staging(ctx.program).remove(self.image_id))

    def _pieces(self, ctx: Context) -> Iterator[bytes]:
        """The data, from wherever it is."""
        if self.uri:
            return web.fetch(self.uri, ctx.program.settings.image.web_download_allow)
        try:
            return data.staging(ctx.program).read(self.image_id)
        except NotFound:
            raise HostError("The staged data is not there any more; stage it again.") from None

    def _note(self, ctx: Context, status: str, message: str = "") -> None:
        ctx.db.update(Task, Task.c.id == self.task_id, status=status, message=message, updated_at=clock.now())
