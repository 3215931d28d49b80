"""The scheduler: filters and weighs the hosts for a server, claims the best in placement, and leaves the explanation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import msgspec
import sqlalchemy as sa

from pilvi import placement
from pilvi.compute.drivers import HostFacts
from pilvi.compute.logic import explain, flavor_specs
from pilvi.compute.logic.host_filters import Ask, HostState, refusal
from pilvi.compute.logic.host_weights import ranked
from pilvi.compute.operations.zones import aggregates_of_hosts, zone_of
from pilvi.compute.tables.explanations import Explanation, Verdict
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.server_groups import ServerGroup
from pilvi.compute.tables.servers import FlavorCopy, Server
from pilvi.kernel import agent, clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, NotFound, NoValidHost
from pilvi.kernel.program import Program

TOPIC = "scheduler"
_KEPT = 10  # hosts that would have done, told in an explanation; those refused are all told


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The host that was taken for a server."""

    host: str
    node: str
    zone: str


class Scheduler:
    """Answers the topic `scheduler`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.settings = program.settings.compute
        self._facts: dict[str, tuple[int, HostFacts]] = {}  # decoded, by host and version

    def choose(self, server_id: str, exclude: list[str], flavor: FlavorCopy | None = None) -> Choice:
        """Take a host for the server, claiming its room; asking twice finds the same claim.

        With `flavor` the room is for a resize: the server stays noted where it is.  Raises NoValidHost.
        """
        with self.program.db.transaction(write=False) as tx:
            server = tx.get(Server, server_id)
            if server is None or server.deleted_at is not None:
                raise NotFound(kind="Instance", ref=server_id)
            hosts = self._hosts(tx)
            known = {host.node: host for host in hosts}
            for provider in placement.allocations(tx, server_id):
                if provider in known and known[provider].name not in exclude:
                    return _choice(known[provider])
            ask = self._ask(tx, server, exclude, flavor, hosts)
        verdicts, best = judge(hosts, ask)
        for weight, host in best:
            taken = self.program.db.run(partial(self._take, server=server, host=host, ask=ask, move=flavor is None, verdicts=verdicts))
            if taken:
                return _choice(host)
            verdicts = [one for one in verdicts if one.host != host.name]
            verdicts.append(Verdict(host=host.name, filter="Claim", sentence="another server took the room in the same moment", weight=weight))
        self.program.db.run(lambda tx: _keep(tx, server_id, "", verdicts))
        raise NoValidHost(explain.summary(verdicts))

    def examine(self, server_id: str) -> list[Verdict]:
        """What the scheduler would find for the server now; nothing is taken."""
        with self.program.db.transaction(write=False) as tx:
            server = tx.get(Server, server_id)
            if server is None:
                raise NotFound(kind="Instance", ref=server_id)
            hosts = self._hosts(tx)
            ask = self._ask(tx, server, [], None, hosts)
        return judge(hosts, ask)[0]

    # -- reading -----------------------------------------------------------------------------------

    def _hosts(self, tx: Transaction) -> list[HostState]:
        rooms = {room.provider: room for room in placement.rooms(tx)}
        aggregates = aggregates_of_hosts(tx)
        building = Counter(
            row[0] for row in tx.rows(sa.select(Server.c.host).where(Server.c.vm_state == "building", Server.c.host.is_not(None)))
        )
        c = ComputeHost.c
        columns = (c.host, c.id, c.version, c.heartbeat_at, c.disabled, c.disabled_reason, c.forced_down, c.failed_builds)
        found = []
        for name, node, version, heartbeat_at, disabled, reason, forced_down, failed in tx.rows(sa.select(*columns)):
            room = rooms.get(node)
            mine = aggregates.get(name, [])
            found.append(
                HostState(
                    name=name, node=node, facts=self._facts_of(tx, name, version), heartbeat_at=heartbeat_at, disabled=disabled,
                    disabled_reason=reason or "", forced_down=forced_down, failed_builds=failed, building=building[name],
                    room=dict(room.classes) if room else {}, traits=frozenset(room.traits) if room else frozenset(),
                    zone=zone_of(mine, self.settings.default_zone), aggregates=[one.metadata for one in mine],
                )
            )  # fmt: skip
        return found

    def _facts_of(self, tx: Transaction, host: str, version: int) -> HostFacts:
        known = self._facts.get(host)
        if known is None or known[0] != version:
            row = tx.get(ComputeHost, host)
            assert row is not None
            known = self._facts[host] = (row.version, row.facts)
        return known[1]

    def _ask(self, tx: Transaction, server: Server, exclude: list[str], flavor: FlavorCopy | None, hosts: list[HostState]) -> Ask:
        flavor = flavor or server.flavor
        required, forbidden = flavor_specs.traits(flavor, server.image)
        wishes = server.wishes
        ask = Ask(
            resources=flavor_specs.resources(flavor, on_volume=not server.image_id), now=clock.now(), down_after=self.settings.down_after,
            wishes=wishes, zone=wishes.zone, required=required, forbidden=forbidden, capabilities=flavor_specs.capabilities(flavor),
            properties=server.image.properties, project_id=server.project_id, flavor_specs=flavor.extra_specs, exclude=frozenset(exclude),
            same=hosts_of(tx, wishes.same_host), different=hosts_of(tx, wishes.different_host),
        )  # fmt: skip
        group = tx.get(ServerGroup, server.group_id) if server.group_id else None
        if group is not None:
            ask.policy, ask.most_per_host = group.policy, group.rules.get("max_server_per_host", 1)
            members = members_by_host(tx, group.id, server.id)
            for host in hosts:
                host.group_members = members[host.name]
            if group.policy == "affinity" and not wishes.same_host:
                ask.same = frozenset(members)
        return ask

    # -- taking ------------------------------------------------------------------------------------

    def _take(self, tx: Transaction, *, server: Server, host: HostState, ask: Ask, move: bool, verdicts: list[Verdict]) -> bool:
        """Claim the room and note the host, unless somebody was faster; False then."""
        now = tx.get(Server, server.id)
        if now is None or now.deleted_at is not None or now.task_state == "deleting":
            raise NotFound(kind="Instance", ref=server.id)
        if ask.policy in ("affinity", "anti-affinity"):
            members = members_by_host(tx, server.group_id, server.id)
            if ask.policy == "anti-affinity" and members[host.name] >= ask.most_per_host:
                return False
            if ask.policy == "affinity" and members and host.name not in members:
                return False
        try:
            placement.claim(
                tx, consumer=server.id, provider=host.node, resources=ask.resources, project_id=server.project_id, user_id=server.user_id
            )
        except Conflict:
            return False
        _keep(tx, server.id, host.name, verdicts)
        if move:
            tx.update(Server, Server.c.id == server.id, host=host.name, node=host.facts.hostname, zone=host.zone)
        return True


def judge(hosts: list[HostState], ask: Ask) -> tuple[list[Verdict], list[tuple[float, HostState]]]:
    """Every host's verdict, and those that will do with their weights, best first."""
    verdicts, fit = [], []
    for host in hosts:
        refused = refusal(host, ask)
        if refused is None:
            fit.append(host)
        else:
            verdicts.append(Verdict(host=host.name, filter=refused[0], sentence=refused[1]))
    best = ranked(fit, ask)
    verdicts[:0] = [Verdict(host=host.name, weight=weight) for weight, host in best[:_KEPT]]
    return verdicts, best


def members_by_host(tx: Transaction, group_id: str, but: str) -> Counter[str]:
    """How many of a group's servers are on each host, one server left out."""
    select = sa.select(Server.c.host).where(
        Server.c.group_id == group_id, Server.c.host.is_not(None), Server.c.deleted_at.is_(None), Server.c.id != but
    )
    return Counter(row[0] for row in tx.rows(select))


def hosts_of(tx: Transaction, server_ids: list[str]) -> frozenset[str]:
    """The hosts on which these servers are."""
    if not server_ids:
        return frozenset()
    select = sa.select(Server.c.host).where(Server.c.id.in_(server_ids), Server.c.deleted_at.is_(None), Server.c.host.is_not(None))
    return frozenset(row[0] for row in tx.rows(select))


def _choice(host: HostState) -> Choice:
    return Choice(host=host.name, node=host.facts.hostname, zone=host.zone)


def _keep(tx: Transaction, server_id: str, chosen: str, verdicts: list[Verdict]) -> None:
    tx.put(Explanation(server_id=server_id, made_at=clock.now(), chosen=chosen, verdicts=verdicts))


def serve(program: Program) -> Callable[[], None]:
    """The role `scheduler`."""
    return agent.serve(program.bus, TOPIC, Scheduler(program))
