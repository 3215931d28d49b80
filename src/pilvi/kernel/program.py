"""The program: settings, database, bus, policy, workflows and the services' mounts, put together."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import sqlalchemy as sa

from pilvi.kernel import clock, hosts, log, processes, structs, trace
from pilvi.kernel.bus import Bus
from pilvi.kernel.bus.connect import connect
from pilvi.kernel.bus.names import AgentTopics
from pilvi.kernel.certificates import Authority, Tls, trust
from pilvi.kernel.context import NOBODY, Caller, Context
from pilvi.kernel.db import Database, Transaction
from pilvi.kernel.db.alone import NoDatabase, alone
from pilvi.kernel.errors import Invalid
from pilvi.kernel.events import Events
from pilvi.kernel.hearing import Hearing
from pilvi.kernel.http.mount import Mount
from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.resource import rules
from pilvi.kernel.ids import new_request_id
from pilvi.kernel.policy import Policies, Rule
from pilvi.kernel.service import Service
from pilvi.kernel.workflows.knock import Knocker
from pilvi.kernel.workflows.periodic import Periodic, Timer
from pilvi.kernel.workflows.store import Store
from pilvi.kernel.workflows.worker import Worker

if TYPE_CHECKING:
    from pilvi.kernel.bus.broker import Broker

# in the order in which they are begun: machines are run in the network role's namespace
ROLES = ("api", "scheduler", "conductor", "network", "volume", "compute", "console")
AGENTS = frozenset({"network", "volume", "compute"})  # roles that have no database: they ask the conductor
PERIODIC = (Periodic("kernel-traces", 3600.0, trace.forget),)


class Program:
    """One process of a cloud: all roles by default, or some of them.

    `authenticate` is given by the program that knows identity: from a token to its Caller; raises Unauthenticated.
    """

    def __init__(self, settings: Any, services: Sequence[Service], *, bus: Bus | None = None) -> None:
        structs.learn_all()
        self.settings = settings
        self.services = {service.name: service for service in services}
        self.state = Path(settings.state).resolve()
        self.host: str = settings.host or socket.gethostname()
        self.roles: list[str] = _roles(settings.roles)
        self.started_at = clock.now()
        self._began = 0.0  # of a program of agents: when, by the clock of those who give it orders
        self.hearing = Hearing(settings.heartbeat)
        self.has_database = not AGENTS.issuperset(self.roles)
        self.db: Database = self._database() if self.has_database else cast(Database, NoDatabase())
        self.authority, self.tls = self._certificates()
        self.broker: Broker | None = None
        self.bus_url: str = settings.bus.url  # by which other hosts reach it
        self.bus = bus or self._connect()
        self.events = Events()
        self.workflows = Store(self.db)
        self.knocker = Knocker(self.bus)
        self.policy = Policies(self._rules(), _overrides(self.state / "policy.yaml"))
        self.authenticate: Callable[[str], Caller] = _nobody
        self.crash_hook: Callable[[str, str, str], None] | None = None
        self.parts: dict[str, Any] = {}  # what services keep for the life of the process, by their name
        self.digest = hashlib.sha256(str(self.state).encode()).hexdigest()[:8]  # tells clouds on one machine apart
        self.netns = f"pilvi-{self.digest}"  # the network namespace of this cloud's bridges, taps and machines on this host
        self.run_dir = self.state / "run"  # for sockets: a short path, since theirs are limited to 108 bytes
        self.on_started: list[Callable[[], None]] = []
        self.health: dict[str, Callable[[], str]] = {}  # role -> says how it is in a few words; raises when it is not well
        self.sockets: dict[str, Any] = {}  # websocket paths, made by services' roles
        self.pages: dict[str, Path] = {}  # first part of a path -> folder of files for browsers
        # paths that stand outside of the services: answered from program, method, path and body
        self.plain: dict[str, Callable[[Program, str, str, bytes], Answer]] = {hosts.PATH: hosts.answer} if self.has_database else {}
        self._stops: list[Callable[[], None]] = []
        for service in services:
            self.workflows.register(service.workflows)
            for event, hearer in service.hears:
                self.events.hear(event, hearer)
        self.mounts = [Mount(service) for service in self._answered()]

    def start(self) -> None:
        """Bring up the roles: the tables, what a new cloud must have, workers, periodic work, agents."""
        if self.has_database:
            self._settle_database()
            if "conductor" not in self.roles:
                self.workflows.alarms.append(self.knocker.ring)
            self.knocker.start()
            self._stops.append(self.knocker.stop)
        else:
            self._began = processes.ask_moment(self.bus)
        for role in self.roles:
            for service in self.services.values():
                serve = service.roles.get(role)
                if serve is not None:
                    self._stops.append(serve(self))
        if "conductor" in self.roles:
            worker = Worker(self, threads=self.settings.workers)
            worker.start()
            timer = Timer(self, [*PERIODIC, *(task for service in self.services.values() for task in service.periodic)])
            timer.start()
            self.health["conductor"] = lambda: f"{worker.busy} workflows running"
            self._stops += [worker.stop, timer.stop]
        self._stops.append(processes.serve(self))
        for hook in self.on_started:
            hook()
        log.info("started", host=self.host, roles=self.roles)

    def stop(self) -> None:
        """End the roles, the last begun first."""
        while self._stops:
            self._stops.pop()()
        self.bus.close()
        if self.broker:
            self.broker.stop()
        self.db.close()

    def _answered(self) -> list[Service]:
        """The services whose APIs are answered here."""
        wanted = self.settings.api.services
        for name in wanted:
            if name not in self.services:
                raise Invalid(f"api.services: there is no service '{name}'; choose from {', '.join(self.services)}.", field="api.services")
        return [service for service in self.services.values() if service.name in wanted or not wanted]

    @property
    def since(self) -> float:
        """The moment since which agents that begin now take orders, by the clock of those who give them (see `agent.serve`)."""
        return self._began or clock.now()

    @property
    def url(self) -> str:
        """Where the API is, as the settings say."""
        api = self.settings.api
        host = f"[{api.bind}]" if ":" in api.bind else api.bind
        return api.public_url.rstrip("/") or f"{self.scheme}://{host}:{api.port}"

    @property
    def scheme(self) -> str:
        """https when the API is encrypted."""
        return "https" if self.tls else "http"

    def _certificates(self) -> tuple[Authority | None, Tls | None]:
        """What the API and the bus are encrypted with; the authority, where this program is the one that has it."""
        wanted, folder = self.settings.tls, self.state / "tls"
        if not wanted.enabled:
            return None, None
        if wanted.cert_file:
            tls = Tls(ca_file=wanted.ca_file, cert_file=wanted.cert_file, key_file=wanted.key_file)
            authority = None
        elif (folder / "ca.pem").exists() and not (folder / "ca-key.pem").exists():  # given by the cloud that this host has joined
            tls = Tls(ca_file=str(folder / "ca.pem"), cert_file=str(folder / "cert.pem"), key_file=str(folder / "key.pem"))
            authority = None
        else:
            authority = Authority(folder)
            authority.ensure()
            names = [self.settings.address, self.settings.api.bind, "127.0.0.1", "::1", "localhost"]
            certificate, key = authority.ensure_own(self.host, [name for name in names if name and name not in ("0.0.0.0", "::")])
            tls = Tls(ca_file=str(authority.ca_file), cert_file=str(certificate), key_file=str(key))
        if tls.ca_file:
            trust(Path(tls.ca_file))
        return authority, tls

    def _connect(self) -> Bus:
        """The bus; the broker that carries it as well, where this program keeps one."""
        wanted = self.settings.bus
        if self.tls:
            wanted = msgspec.structs.replace(
                wanted, ca_file=wanted.ca_file or self.tls.ca_file, cert_file=wanted.cert_file or self.tls.cert_file,
                key_file=wanted.key_file or self.tls.key_file,
            )  # fmt: skip
        if wanted.serve and self.has_database:
            from pilvi.kernel.bus.broker import Broker

            self.broker = Broker(wanted, self.state / "bus", self._topics())
            self.broker.ensure()
            self.bus_url = self.broker.url
            wanted = self.broker.client()
        return connect(wanted, host=self.host)

    def _topics(self) -> AgentTopics:
        """What hosts' agents have to do with on the bus."""
        services = self.services.values()
        call = [processes.TOPIC, *(topic for service in services for topic in service.agents_call)]
        return AgentTopics(call=call, serve=[topic for service in services for topic in service.agents_serve])

    def _database(self) -> Database:
        wanted = self.settings.database
        url = wanted.url or f"sqlite:///{self.state / 'pilvi.db'}"
        return Database(url, durability=wanted.durability, connections=wanted.connections)

    def _settle_database(self) -> None:
        """The tables, and what a new cloud must have; of several programs that start at once, one after the other."""
        from pilvi.kernel.db.migrations import migrate

        with alone(self.db, "start"):
            migrate(self.db)
            for service in self.services.values():
                if service.bootstrap is not None:
                    service.bootstrap(self)
        columns = [processes.Process.c.heartbeat_at, *(column for service in self.services.values() for column in service.heartbeats)]
        with self.db.transaction(write=False) as tx:
            heard = [tx.scalar(sa.select(sa.func.max(column))) for column in columns]
        self.hearing.resumed(max((moment for moment in heard if moment), default=self.started_at))

    def context(self, tx: Transaction, caller: Caller = NOBODY, *, request_id: str = "") -> Context:
        """A context outside of a request: for agents' reports, periodic work, the command line."""
        return Context(self, tx, caller, request_id=request_id or new_request_id())

    def system_context(self, tx: Transaction, *, request_id: str = "") -> Context:
        """A context of the cloud itself."""
        return self.context(tx, Caller(user_id="system", roles=frozenset({"admin", "service"})), request_id=request_id)

    def _rules(self) -> dict[str, dict[str, Rule]]:
        """Each service's declared rules by name."""
        declared: dict[str, dict[str, Rule]] = {}
        for service in self.services.values():
            own = declared.setdefault(service.name, {})
            for rule in [*service.rules, *rules(service.resources).values()]:
                if own.setdefault(rule.name, rule).check != rule.check:
                    raise TypeError(f"{service.name} declares the rule {rule.name} twice, differently")
        return declared


def _nobody(token: str) -> Caller:
    raise Invalid("This program has no identity service.")


def _roles(wanted: Sequence[str]) -> list[str]:
    """The roles in the order in which they are begun; all when none is named."""
    for role in wanted:
        if role not in ROLES:
            raise Invalid(f"roles: there is no role '{role}'; choose from {', '.join(ROLES)}.", field="roles")
    return [role for role in ROLES if role in wanted or not wanted]


def _overrides(path: Path) -> dict[str, Any]:
    """The operator's policy.yaml."""
    if not path.exists():
        return {}
    import yaml

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise Invalid(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(read, dict):
        raise Invalid(f"{path} must be a mapping of rule names to rules.")
    return read
