"""The scheduler: filters and weighs the hosts for a server, claims the best in placement, and leaves the explanation."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import msgspec
import sqlalchemy as sa

from pilvi import placement
from pilvi.compute.known_hosts import KnownHosts
from pilvi.compute.logic import explain, flavor_specs
from pilvi.compute.logic.host_filters import Ask, HostState, concerned, sieve
from pilvi.compute.logic.host_weights import ranked
from pilvi.compute.logic.moves import Move
from pilvi.compute.operations import luggage
from pilvi.compute.tables.explanations import Explanation, Verdict
from pilvi.compute.tables.server_groups import ServerGroup
from pilvi.compute.tables.servers import FlavorCopy, Server
from pilvi.kernel import agent, clock, metrics
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, NotFound, NoValidHost
from pilvi.kernel.program import Program

TOPIC = "scheduler"
_KEPT = 10  # hosts that would have done, told in an explanation; those refused are all told
_BUILDING = (
    sa.select(Server.c.host, sa.func.count()).where(Server.c.vm_state == "building", Server.c.host.is_not(None)).group_by(Server.c.host)
)


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
        self._known = KnownHosts(self.settings.default_zone)

    def choose(self, server_id: str, exclude: list[str], flavor: FlavorCopy | None = None, move: Move | None = None) -> Choice:
        """Take a host for the server, claiming its room; asking twice finds the same claim.

        With `move` the server stays noted where it is, and the host is noted as the one it goes to; with `flavor` the
        room is for that one.  Raises NoValidHost.
        """
        began = time.thread_time()
        try:
            return self._choose(server_id, exclude, flavor, move)
        finally:
            metrics.count("scheduler_choices")
            metrics.count("scheduler_cpu_seconds", time.thread_time() - began)

    def examine(self, server_id: str) -> list[Verdict]:
        """What the scheduler would find for the server now; nothing is taken."""
        with self.program.db.transaction(write=False) as tx:
            server = tx.get(Server, server_id)
            if server is None:
                raise NotFound(kind="Instance", ref=server_id)
            hosts, ask = self._look(tx, server, [], None, None)
        return judge(hosts, ask)[0]

    # -- choosing ----------------------------------------------------------------------------------

    def _choose(self, server_id: str, exclude: list[str], flavor: FlavorCopy | None, move: Move | None) -> Choice:
        lost: dict[str, Verdict] = {}  # hosts whose room others took between the look and the claim
        while True:
            with self.program.db.transaction(write=False) as tx:
                server = tx.get(Server, server_id)
                if server is None or server.deleted_at is not None:
                    raise NotFound(kind="Instance", ref=server_id)
                had = self._claimed(tx, placement.allocations(tx, server_id), exclude)
                if had is not None:
                    return had
                hosts, ask = self._look(tx, server, exclude, flavor, move)
            verdicts, best = judge([host for host in hosts if host.name not in lost] if lost else hosts, ask)
            verdicts += lost.values()
            if not best:
                self.program.db.run(lambda tx, told=verdicts: _keep(tx, server_id, "", told))
                raise NoValidHost(explain.summary(verdicts))
            for weight, host in best:
                try:
                    return self.program.db.run(partial(self._take, server=server, exclude=exclude, host=host, ask=ask, move=move, verdicts=verdicts))
                except Conflict as error:
                    why = f"its room could not be claimed: {error.message}"
                    lost[host.name] = Verdict(host=host.name, filter="Claim", sentence=why, weight=weight)

    def _claimed(self, tx: Transaction, held: Mapping[str, object], exclude: list[str]) -> Choice | None:
        """The host that was taken for the server when this was asked before: one of those of which it holds something."""
        if not held:
            return None
        hosts = self._known.look(tx, 0.0).hosts
        return next((_choice(host) for host in hosts if host.node in held and host.name not in exclude), None)

    def _look(
        self, tx: Transaction, server: Server, exclude: list[str], flavor: FlavorCopy | None, move: Move | None
    ) -> tuple[list[HostState], Ask]:
        """All hosts, and what is asked of them for this server."""
        now = clock.now()
        ask = self._ask(tx, server, exclude, flavor, now)
        seen = self._known.look(tx, self.program.hearing.since(self.settings.down_after))
        ask.silent, ask.closed, ask.kept = seen.silent, seen.closed, seen.kept
        ask.building = dict(tx.rows(_BUILDING))
        if move is not None:  # who named a host when the server was made did not mean it for ever
            ask.wishes = msgspec.structs.replace(server.wishes, host=move.only, node="")
            ask.barred, ask.forced = luggage.barred(self.program, tx, server, move, flavor), move.force
        return seen.hosts, ask

    def _ask(self, tx: Transaction, server: Server, exclude: list[str], flavor: FlavorCopy | None, now: float) -> Ask:
        flavor = flavor or server.flavor
        required, forbidden = flavor_specs.traits(flavor, server.image)
        wishes = server.wishes
        ask = Ask(
            resources=flavor_specs.resources(flavor, on_volume=not server.image_id), now=now, down_after=self.settings.down_after,
            wishes=wishes, zone=wishes.zone, required=required, forbidden=forbidden, capabilities=flavor_specs.capabilities(flavor),
            properties=server.image.properties, project_id=server.project_id, flavor_specs=flavor.extra_specs, exclude=frozenset(exclude),
            same=hosts_of(tx, wishes.same_host), different=hosts_of(tx, wishes.different_host),
        )  # fmt: skip
        group = tx.get(ServerGroup, server.group_id) if server.group_id else None
        if group is not None:
            ask.policy, ask.most_per_host = group.policy, group.rules.get("max_server_per_host", 1)
            ask.members = members_by_host(tx, group.id, server.id)
            if group.policy == "affinity" and not wishes.same_host:
                ask.same = frozenset(ask.members)
        return ask

    # -- taking ------------------------------------------------------------------------------------

    def _take(
        self, tx: Transaction, *, server: Server, exclude: list[str], host: HostState, ask: Ask, move: Move | None, verdicts: list[Verdict]
    ) -> Choice:
        """Claim the room and note the host, unless another scheduler that was asked the same has; raises Conflict when the room is gone."""
        grouped = ask.policy in ("affinity", "anti-affinity") and not ask.forced
        if grouped:
            tx.lock(ServerGroup, server.group_id)  # its members are placed one after the other; before them, as who deletes it does
        now = tx.lock(Server, server.id)  # who deletes it meanwhile finds the claim, or the claim finds it deleted
        if now is None or now.deleted_at is not None or now.task_state == "deleting":
            raise NotFound(kind="Instance", ref=server.id)
        self.program.workflows.confirm(tx)
        held = placement.allocations(tx, server.id)
        had = self._claimed(tx, held, exclude)
        if had is not None:
            return had
        if grouped:
            members = members_by_host(tx, server.group_id, server.id)
            if ask.policy == "anti-affinity" and members[host.name] >= ask.most_per_host:
                raise Conflict("Another server of the group came here in the same moment.")
            if ask.policy == "affinity" and members and host.name not in members:
                raise Conflict("Another server of the group went elsewhere in the same moment.")
        placement.claim(
            tx, consumer=server.id, provider=host.node, resources=ask.resources, project_id=server.project_id, user_id=server.user_id, has=held
        )
        _keep(tx, server.id, host.name, verdicts)
        if move is None:
            tx.update(Server, Server.c.id == server.id, host=host.name, node=host.facts.hostname, zone=host.zone)
        elif host.name != now.host:
            tx.update(Server, Server.c.id == server.id, other_host=host.name)
        return _choice(host)


def judge(hosts: list[HostState], ask: Ask) -> tuple[list[Verdict], list[tuple[float, HostState]]]:
    """Every host's verdict (of those that will do only the best), and the best with their weights."""
    fit, refused = sieve(hosts, ask)
    best = ranked(fit, ask, _KEPT)
    verdicts = [Verdict(host=host.name, weight=weight) for weight, host in best]
    verdicts += [Verdict(host=host.name, filter=name, sentence=sentence) for host, name, sentence in refused]
    return verdicts, best


def consider(program: Program, tx: Transaction, server: Server, move: Move, flavor: FlavorCopy | None = None) -> list[Verdict]:
    """What the scheduler would find if the server were to move now; nothing is taken.  Of a host that was named: all that speaks against it."""
    scheduler: Scheduler = program.parts.setdefault("compute.scheduler", Scheduler(program))
    hosts, ask = scheduler._look(tx, server, [], flavor, move)
    if not move.only:
        return judge(hosts, ask)[0]
    filters = concerned(ask)
    named = [host for host in hosts if host.name == move.only]
    refusals = [Verdict(host=host.name, filter=name, sentence=told) for host in named for name, look in filters if (told := look(host, ask))]
    return refusals or judge(named, ask)[0]


def members_by_host(tx: Transaction, group_id: str, but: str) -> Counter[str]:
    """How many of a group's servers are on each host or on their way there, one server left out."""
    select = sa.select(Server.c.host, Server.c.other_host).where(
        Server.c.group_id == group_id, Server.c.host.is_not(None), Server.c.deleted_at.is_(None), Server.c.id != but
    )
    return Counter(host for row in tx.rows(select) for host in row if host)


def hosts_of(tx: Transaction, server_ids: list[str]) -> frozenset[str]:
    """The hosts on which these servers are."""
    if not server_ids:
        return frozenset()
    select = sa.select(Server.c.host).where(Server.c.id.in_(server_ids), Server.c.deleted_at.is_(None), Server.c.host.is_not(None))
    return frozenset(row[0] for row in tx.rows(select))


def _choice(host: HostState) -> Choice:
    return Choice(host=host.name, node=host.facts.hostname, zone=host.zone)


def _keep(tx: Transaction, server_id: str, chosen: str, verdicts: list[Verdict]) -> None:
    tx.put(Explanation(server_id=server_id, made_at=clock.now(), chosen=chosen, verdicts=explain.packed(verdicts)))


def serve(program: Program) -> Callable[[], None]:
    """The role `scheduler`."""
    return agent.serve(program.bus, TOPIC, Scheduler(program))
