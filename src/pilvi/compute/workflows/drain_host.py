"""Drain a host: move its servers away, a few at a time, until none is left that can be moved."""

from __future__ import annotations

from pilvi.kernel import log
from pilvi.kernel.context import Context
from pilvi.kernel.workflows import Wait, Workflow, effect, transaction

_LOOK = 2.0  # seconds between two looks at the moves under way
_YEAR = 365 * 86400.0


class DrainHost(Workflow):
    """Look again and again what has arrived and what can go next; the moves are workflows of their own."""

    host: str

    @property
    def subject(self) -> str:
        return subject(self.host)

    @effect(within=_YEAR)
    def move_servers(self, ctx: Context) -> None:
        """Move the servers."""
        from pilvi.compute.operations import drain

        if ctx.program.workflows.write(lambda tx: drain.move_on(ctx.program.context(tx, ctx.caller, request_id=ctx.request_id).system(), self.host)):
            raise Wait(_LOOK)

    @transaction
    def note(self, ctx: Context) -> None:
        """No server is left that can be moved."""
        from pilvi.compute.operations import drain

        drain.ended(ctx, self.host)

    def failed(self, ctx: Context, why: str) -> None:
        log.warning("a host could not be drained", host=self.host, why=why)


def subject(host: str) -> str:
    """On whose behalf a host is drained."""
    return f"drain@{host}"[:64]
