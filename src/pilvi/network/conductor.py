"""What agents ask: descriptions of what should be on their host; and what they tell: heartbeats, what is up.

Agents have no database.  Each answer here is the truth of the moment at which it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from pilvi.kernel import clock
from pilvi.kernel.agent import sender
from pilvi.kernel.gather import Gather
from pilvi.network import describe
from pilvi.network.drivers import Dhcp, Router, Segment
from pilvi.network.drivers import Port as PortWish
from pilvi.network.logic.words import DHCP, NETWORK_OWNED
from pilvi.network.metadata import MetadataAnswer, MetadataRequest
from pilvi.network.operations import binding, placing, reports
from pilvi.network.tables import Agent, Network, Port
from pilvi.network.tables import Router as RouterRow

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction
    from pilvi.kernel.program import Program

TOPIC = "network-conductor"
_THOROUGH = 300.0  # seconds after which a host that says nothing else is noted with all it says
_MANY = 500  # hosts named in one statement


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet of an external network that the host itself is to reach as its gateway."""

    physical_network: str
    cidr: str
    gateway: str


class NetworkWish(msgspec.Struct, frozen=True, kw_only=True):
    """A network as it should be on a host; all None: not at all."""

    segment: Segment | None = None
    dhcp: Dhcp | None = None
    outside: list[Outside] = []


class Everything(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of all that should be on a host."""

    networks: list[str] = []
    ports: list[str] = []
    dhcp: list[str] = []
    routers: list[str] = []


class NetworkConductor:
    """The methods that agents call over the bus."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._noted: dict[str, tuple[dict[str, Any], float, float]] = {}  # host -> facts, start, and when they were written
        every = min(1.0, program.settings.network.heartbeat_every / 4)
        self._heartbeats: Gather[float] = Gather("network-heartbeats", every, self._note_living)

    def describe_ports(self, ids: list[str], host: str) -> list[PortWish]:
        """Those of the ports that should be plugged on the host, as they should be."""
        with self._reading() as tx:
            return describe.ports(self._program, tx, ids, host)

    def describe_network(self, network_id: str, host: str) -> NetworkWish:
        """The network as it should be on the host."""
        with self._reading() as tx:
            network = tx.get(Network, network_id)
            if network is None:
                return NetworkWish()
            hosts = placing.network_hosts(tx, network_id)
            outside = describe.outside(self._program, tx, network, host)
            if host not in hosts and not outside:
                return NetworkWish()
            return NetworkWish(
                segment=describe.segment(self._program, tx, network, host), dhcp=describe.dhcp(self._program, tx, network, host),
                outside=[Outside(physical_network=where, cidr=cidr, gateway=gateway) for where, cidr, gateway in outside],
            )  # fmt: skip

    def describe_router(self, router_id: str, host: str) -> Router | None:
        """The router as it should be on the host; None when it should not be there."""
        with self._reading() as tx:
            return describe.router(self._program, tx, router_id, host)

    def everything_on(self, host: str) -> Everything:
        """All that should be on the host."""
        with self._reading() as tx:
            held = tx.all(Port, sa.or_(Port.c.host_id == host, Port.c.moving_to == host))
            outside = describe.outside_networks(self._program, tx, host)
            plugged = [row for row in held if not row.device_owner.startswith(NETWORK_OWNED) and row.vif_type == binding.VIF_TYPE]
            return Everything(
                networks=sorted({row.network_id for row in held} | set(outside)), ports=[row.id for row in plugged],
                dhcp=sorted({row.network_id for row in held if row.device_owner == DHCP}),
                routers=[row.id for row in tx.all(RouterRow, RouterRow.c.host == host)],
            )  # fmt: skip

    def report_ports_up(self, host: str, ids: list[str]) -> None:
        """These ports are plugged on the host."""
        with self._reading() as tx:
            wanted = tx.rows(sa.select(Port.c.id, Port.c.status, Port.c.admin_state_up).where(Port.c.id.in_(ids[:_MANY]), Port.c.host_id == host))
        if len(ids) <= _MANY and all(status == ("ACTIVE" if up else "DOWN") for _, status, up in wanted):
            return
        self._program.db.run(lambda tx: reports.ports_up(self._program.system_context(tx), host, ids))

    def report_dhcp_up(self, host: str, network_id: str) -> None:
        """DHCP of the network is served on the host."""
        with self._reading() as tx:  # told with each port of the network: mostly it is no news, and nobody is to wait for a writer's turn
            if not tx.count(Port, Port.c.network_id == network_id, Port.c.device_owner == DHCP, Port.c.host_id == host, Port.c.status != "ACTIVE"):
                return
        self._program.db.run(lambda tx: reports.owned_up(self._program.system_context(tx), host, [DHCP], network_id=network_id))

    def report_router_up(self, host: str, router_id: str, addresses: list[str]) -> None:
        """The router is there, and these floating addresses lead through it."""
        self._program.db.run(lambda tx: reports.router_up(self._program.system_context(tx), host, router_id, addresses))

    def heartbeat(self, host: str, facts: dict[str, Any], started_at: float) -> None:
        """The host's agent lives.  When it says nothing new this is noted together with other hosts', a moment later."""
        noted, now = self._noted.get(host), clock.now()
        if noted is not None and noted[:2] == (facts, started_at) and 0 <= now - noted[2] < _THOROUGH:
            self._heartbeats.add(host, now)
            return

        def beat(tx: Transaction) -> None:
            now = clock.now()
            tunnel = str(facts.get("tunnel_address", ""))
            held = tx.get(Agent, host)
            if held is None:
                tx.insert(Agent(host=host, tunnel_address=tunnel, facts=facts, created_at=now, started_at=started_at, heartbeat_at=now))
            elif held.facts == facts and held.started_at == started_at:
                tx.change(held, heartbeat_at=now)
            else:
                tx.change(held, heartbeat_at=now, started_at=started_at, facts=facts, tunnel_address=tunnel)
            if held is None:
                reports.new_host(self._program.system_context(tx), host)

        self._program.db.run(beat)
        self._noted[host] = facts, started_at, now

    def answer_metadata(self, request: MetadataRequest) -> MetadataAnswer:
        """What compute answers to a guest's question."""
        handler = self._program.parts.get("network.metadata")
        if handler is None or not self._asked_there(sender(), request):
            return MetadataAnswer(status=404)
        return handler(request)

    def _asked_there(self, host: str, request: MetadataRequest) -> bool:
        """Whether the guest can have asked on that host: a host learns nothing of guests that are not its own to serve."""
        if not host:
            return True
        with self._reading() as tx:
            if request.router_id:
                router = tx.get(RouterRow, request.router_id)
                return router is not None and router.host == host
            return host in placing.network_hosts(tx, request.network_id)

    def _note_living(self, waiting: Mapping[str, float]) -> None:
        hosts, at = list(waiting), min(waiting.values())
        for start in range(0, len(hosts), _MANY):
            some = hosts[start : start + _MANY]
            found = self._program.db.run(lambda tx, some=some: tx.update(Agent, Agent.c.host.in_(some), heartbeat_at=at))
            if found < len(some):  # an admin deleted one: the next heartbeats say all anew
                self._noted = {host: noted for host, noted in self._noted.items() if host not in some}

    def _end(self) -> None:
        self._heartbeats.stop()

    def _reading(self) -> Any:
        return self._program.db.transaction(write=False)


