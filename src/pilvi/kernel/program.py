"""The program: settings, database, bus, policy, workflows and the services' mounts, put together."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pilvi.kernel import log
from pilvi.kernel.bus import Bus
from pilvi.kernel.context import NOBODY, Caller, Context
from pilvi.kernel.db import Database, Transaction
from pilvi.kernel.errors import Invalid
from pilvi.kernel.events import Events
from pilvi.kernel.http.mount import Mount
from pilvi.kernel.http.resource import rules
from pilvi.kernel.ids import new_request_id
from pilvi.kernel.policy import Policies, Rule
from pilvi.kernel.service import Service
from pilvi.kernel.workflows.periodic import Timer
from pilvi.kernel.workflows.store import Store
from pilvi.kernel.workflows.worker import Worker

# in the order in which they are begun: machines are run in the network role's namespace
ROLES = ("api", "scheduler", "conductor", "network", "volume", "compute", "console")


class Program:
    """One process of a cloud: all roles by default, or some of them.

    `authenticate` is given by the program that knows identity: from a token to its Caller; raises Unauthenticated.
    """

    def __init__(self, settings: Any, services: Sequence[Service], *, bus: Bus | None = None) -> None:
        self.settings = settings
        self.services = {service.name: service for service in services}
        self.state = Path(settings.state).resolve()
        self.host: str = settings.host or socket.gethostname()
        self.roles: list[str] = _roles(settings.roles)
        self.db = Database(settings.database.url or f"sqlite:///{self.state / 'pilvi.db'}", durability=settings.database.durability)
        self.bus = bus or _bus(settings.bus.url)
        self.events = Events()
        self.workflows = Store(self.db)
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
        self._stops: list[Callable[[], None]] = []
        for service in services:
            self.workflows.register(service.workflows)
            for event, hearer in service.hears:
                self.events.hear(event, hearer)
        self.mounts = [Mount(service) for service in services]

    def start(self) -> None:
        """Bring up the roles: the tables, what a new cloud must have, workers, periodic work, agents."""
        from pilvi.kernel.db.migrations import migrate

        migrate(self.db)
        for service in self.services.values():
            if service.bootstrap is not None:
                service.bootstrap(self)
        for role in self.roles:
            for service in self.services.values():
                serve = service.roles.get(role)
                if serve is not None:
                    self._stops.append(serve(self))
        if "conductor" in self.roles:
            worker = Worker(self, threads=self.settings.workers)
            worker.start()
            timer = Timer(self, [task for service in self.services.values() for task in service.periodic])
            timer.start()
            self.health["conductor"] = lambda: f"{worker.busy} workflows running"
            self._stops += [worker.stop, timer.stop]
        for hook in self.on_started:
            hook()
        log.info("started", host=self.host, roles=self.roles)

    def stop(self) -> None:
        """End the roles, the last begun first."""
        while self._stops:
            self._stops.pop()()
        self.bus.close()
        self.db.close()

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


def _bus(url: str) -> Bus:
    if url.startswith("local:"):
        from pilvi.kernel.bus.local import LocalBus

        return LocalBus()
    raise Invalid(f"bus.url: there is no bus for '{url}'.", field="bus.url")


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
