"""Close the export of an attachment that ended without its host's word: the row is gone, the export must go, too."""

from __future__ import annotations

from pilvi.block_storage.workflows.reach import agent_of
from pilvi.kernel import log
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import Wait, Workflow, effect

_LATER = 60.0  # seconds until a back end that could not is asked again


class CloseExport(Workflow):
    """Have the volume not reachable by this attachment, as soon as its back end can."""

    volume_id: str
    attachment_id: str
    host: str  # of the volume

    @property
    def subject(self) -> str:
        return f"export-{self.attachment_id}"

    @effect(within=30 * 86400.0, title="The back end closes an export")
    def close(self, ctx: Context) -> None:
        try:
            agent_of(ctx.program, self.host, request_id=ctx.request_id).disconnect(self.volume_id, self.attachment_id)
        except HostError as error:
            raise Wait(_LATER) from error

    def failed(self, ctx: Context, why: str) -> None:
        log.warning("an export could not be closed", volume=self.volume_id, attachment=self.attachment_id, why=why)
