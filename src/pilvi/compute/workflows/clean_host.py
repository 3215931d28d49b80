"""Clean a host: remove what a server left on a host that failed, or that did not answer when the server left it."""

from __future__ import annotations

from typing import ClassVar

from pilvi import network
from pilvi.compute.agent import TOPIC, ComputeAgent
from pilvi.compute.logic.machines import has_part
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import Server
from pilvi.kernel import agent, log
from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError, Unavailable
from pilvi.kernel.orders import StaleOrder
from pilvi.kernel.workflows import Wait, Workflow, effect

_YEAR = 365 * 86400.0
_LATER = 600.0  # seconds between two tries; the host's return wakes it


class CleanHost(Workflow):
    """Have nothing of the server on the host; waits as long as the host is away."""

    server: str
    host: str
    ports: list[str] = []
    preempts: ClassVar[bool] = False

    @property
    def subject(self) -> str:
        return subject(self.host, self.server)

    @effect(within=_YEAR)
    def clean(self, ctx: Context) -> None:
        with ctx.program.db.transaction(write=False) as tx:
            server = tx.get(Server, self.server)
            host = tx.get(ComputeHost, self.host)
        if host is None or has_part(server, self.host):
            return  # the host was taken out of the cloud, or the server came back to it, or is about to
        if host.heartbeat_at < ctx.program.hearing.since(ctx.program.settings.compute.down_after):
            raise Wait(_LATER)
        try:
            remove(ctx, self.server, self.host, self.ports)
        except StaleOrder:
            raise  # the host has begun in this moment: it is asked again at once
        except (Unavailable, HostError):
            raise Wait(_LATER / 10) from None

    def failed(self, ctx: Context, why: str) -> None:
        log.warning("what a server left on a host could not be removed", server=self.server, host=self.host, why=why)


def subject(host: str, server_id: str) -> str:
    """Not the server's own: other work on it need not wait."""
    return f"{server_id}@{host}"[:64]


def remove(ctx: Context, server_id: str, host: str, ports: list[str]) -> None:
    """Have the server's machine and its ports gone from the host.

    Raises Unavailable when the host does not answer, HostError when the server is to be there again.
    """
    stub = agent.remote(ctx.bus, ComputeAgent, TOPIC, host=host, timeout=120, request_id=ctx.request_id)
    stub.remove(server_id)
    if ports:
        network.unplug(ctx.program, ports, host)

