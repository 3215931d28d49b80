"""CacheImage: have an image in one host's cache."""

from __future__ import annotations

from pilvi.compute.agent import TOPIC, ComputeAgent
from pilvi.kernel import agent, log
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import Wait, Workflow, effect


class CacheImage(Workflow):
    """Ask the host's agent until the image is there."""

    image_id: str
    checksum: str
    host: str

    @property
    def subject(self) -> str:
        return f"{self.image_id[:24]}@{self.host}"[:64]

    @effect(within=3600)
    def fetch(self, ctx: Context) -> None:
        """Fetch the image."""
        stub = agent.remote(ctx.program.bus, ComputeAgent, TOPIC, host=self.host)
        progress = stub.cache_image(self.image_id, self.checksum)
        if progress.state == "working":
            raise Wait(1)
        if progress.state == "failed":
            raise HostError(progress.why, elsewhere=progress.elsewhere)

    def failed(self, ctx: Context, why: str) -> None:
        log.warning("an image could not be cached", image=self.image_id, host=self.host, why=why)
