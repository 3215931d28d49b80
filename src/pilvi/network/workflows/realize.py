"""Telling hosts to look again: they pull the description of a subject and make it so.

A host that does not answer is asked again for a while; after that its own next start, or the periodic healing,
makes it right, so nothing is to be undone when a workflow fails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pilvi.kernel import clock, log
from pilvi.kernel.agent import remote
from pilvi.kernel.context import Context
from pilvi.kernel.workflows import Workflow, effect, transaction
from pilvi.network.tables import Network

if TYPE_CHECKING:
    from pilvi.kernel.program import Program

PATIENCE = 120.0  # seconds that a host may take in all
_REST = 0.25  # seconds between two tellings of one subject, at the least
_SUBJECTS = 10_000  # remembered at the most


def agent(ctx: Context, host: str, *, timeout: float = 60.0) -> Any:
    """The network agent of a host."""
    from pilvi.network.agent import TOPIC, NetworkAgent

    return remote(ctx.program.bus, NetworkAgent, TOPIC, host=host, timeout=timeout, request_id=ctx.request_id)


class Leisure:
    """When what concerns many hosts was told to them last, and how long that took: the more it takes, the longer it rests."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, float]] = {}  # subject -> when it had ended, and how long it took

    @contextmanager
    def measured(self, subject: str) -> Iterator[None]:
        """Around the telling."""
        began = clock.now()
        yield
        if len(self._told) > _SUBJECTS:
            self._told.clear()
        ended = clock.now()
        self._told[subject] = ended, ended - began

    def next_at(self, subject: str) -> float:
        """When it may be told again; 0: at once."""
        ended, took = self._told.get(subject, (0.0, 0.0))
        at = ended + max(_REST, took)
        return at if clock.now() < at < clock.now() + PATIENCE else 0.0


def leisure(program: Program) -> Leisure:
    """What this process knows of it."""
    return program.parts.setdefault("network.leisure", Leisure())


class _Realize(Workflow):
    """Base: how it ends when hosts stay silent."""

    def failed(self, ctx: Context, why: str) -> None:
        log.warning("a host is not as it should be until it heals", subject=self.subject, why=why)


class RealizePort(_Realize):
    """Have a port on its host as described, or gone, and then its network as well.

    In this order: a port that was being plugged a moment ago has brought its network along.
    """

    port: str
    host: str
    network: str = ""  # of a port that leaves

    @property
    def subject(self) -> str:
        return f"port:{self.port}@{self.host}"

    @effect(within=PATIENCE)
    def tell_host(self, ctx: Context) -> None:
        """Tell the port's host."""
        if alive(ctx, [self.host]):
            stub = agent(ctx, self.host)
            stub.refresh_ports([self.port])
            if self.network:
                stub.refresh_network(self.network)


class RealizeNetwork(_Realize):
    """Have a network's DHCP on one host that is alive, and its segment with all peers on each host that has it."""

    network: str
    hosts: list[str] = []  # that had it before

    @property
    def subject(self) -> str:
        return f"network:{self.network}"

    @transaction
    def place(self, ctx: Context) -> None:
        """Have the DHCP port that the network should have."""
        from pilvi.network.operations import dhcp, placing

        before = placing.network_hosts(ctx.db, self.network)
        dhcp.place(ctx, self.network)
        reaching = placing.outside_hosts(ctx, ctx.db.get(Network, self.network))
        self.hosts = sorted({*self.hosts, *before, *reaching, *placing.network_hosts(ctx.db, self.network)})

    @effect(within=PATIENCE)
    def tell_hosts(self, ctx: Context) -> None:
        """Tell the hosts that have the network."""
        with leisure(ctx.program).measured(self.subject):
            for host in alive(ctx, self.hosts):
                agent(ctx, host).refresh_network(self.network)


class RealizeRouter(_Realize):
    """Have a router on one host that is alive."""

    router: str
    hosts: list[str] = []  # where it was
    leave: bool = False  # only leave those hosts

    @property
    def subject(self) -> str:
        return f"router:{self.router}"

    @transaction
    def place(self, ctx: Context) -> None:
        """Have the router placed on a host."""
        from pilvi.network.operations import placing

        if not self.leave:
            self.hosts = sorted({*self.hosts, *placing.place_router(ctx, self.router)})

    @effect(within=PATIENCE)
    def tell_hosts(self, ctx: Context) -> None:
        """Tell the hosts where the router was and is."""
        for host in alive(ctx, self.hosts):
            agent(ctx, host).refresh_router(self.router)


class RealizeGroup(_Realize):
    """Have the ports that a security group concerns guarded by its rules of now."""

    group: str
    members: bool = False  # only those whose rules name it as the remote side

    @property
    def subject(self) -> str:
        return f"group:{self.group}" + ("@members" if self.members else "")

    @effect(within=PATIENCE)
    def tell_hosts(self, ctx: Context) -> None:
        """Tell the hosts of all such ports."""
        from pilvi.network.operations import placing

        with ctx.program.db.transaction(write=False) as tx:
            concerned = placing.ports_of_group(tx, self.group, members=self.members)
        with leisure(ctx.program).measured(self.subject):
            for host in alive(ctx, concerned):
                agent(ctx, host).refresh_ports(concerned[host])


def alive(ctx: Context, hosts: Collection[str]) -> list[str]:
    """Those of the hosts whose agent gives signs of life; the others heal when they come back."""
    from pilvi.network.operations import placing

    with ctx.program.db.transaction(write=False) as tx:
        living = placing.living_of(ctx, tx, hosts)
    return [host for host in hosts if host in living]


__all__ = ["RealizeGroup", "RealizeNetwork", "RealizePort", "RealizeRouter", "leisure"]
