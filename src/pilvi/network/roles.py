"""The roles of the network service: its conductor side, and the agent of a host with its driver."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pilvi.kernel import agent as bus_agent
from pilvi.kernel import log
from pilvi.kernel.errors import Invalid, PilviError
from pilvi.kernel.health import Sign
from pilvi.network.agent import TOPIC, NetworkAgent
from pilvi.network.conductor import TOPIC as CONDUCTOR_TOPIC
from pilvi.network.conductor import NetworkConductor
from pilvi.network.drivers import DRIVERS, Fabric
from pilvi.network.metadata import MetadataAnswer, MetadataRequest

if TYPE_CHECKING:
    from pilvi.kernel.program import Program


def serve_conductor(program: Program) -> Callable[[], None]:
    """Answer agents."""
    conductor = NetworkConductor(program)
    stop = bus_agent.serve(program.bus, CONDUCTOR_TOPIC, conductor, host=program.host, threads=8)

    def end() -> None:
        stop()
        conductor._end()

    return end


def serve_network(program: Program, *, host: str = "") -> Callable[[], None]:
    """Be the network agent of this host (tests: of another one as well); answers what stops it."""
    host = host or program.host
    conductor = bus_agent.remote(program.bus, NetworkConductor, CONDUCTOR_TOPIC)
    fabric = make_fabric(program, host, lambda request: conductor.answer_metadata(request))
    verbs = [name for name, verb in vars(Fabric).items() if callable(verb) and not name.startswith("_")]
    missing = [name for name in verbs if not callable(getattr(fabric, name, None))]
    if missing:
        raise Invalid(f"The network driver {program.settings.network.driver} lacks: {', '.join(missing)}.")
    agent = NetworkAgent(program.bus, host, fabric, settings=program.settings.network)
    stop = bus_agent.serve(program.bus, TOPIC, agent, host=host, threads=8, since=program.since)
    pulse = Pulse(program, agent)
    pulse.start()

    def end() -> None:
        pulse.stop()
        stop()
        close = getattr(fabric, "close", None)
        if close is not None:
            close()

    return end


def namespace(program: Program) -> str:
    """The network namespace in which this cloud's bridges and taps lie on each host."""
    return program.settings.network.namespace or program.netns


def make_fabric(program: Program, host: str, metadata: Callable[[MetadataRequest], MetadataAnswer]) -> Any:
    """The driver that the settings name."""
    settings = program.settings.network
    if settings.driver not in DRIVERS:
        raise Invalid(f"network.driver: there is no driver '{settings.driver}'; there are {', '.join(sorted(DRIVERS))}.", field="network.driver")
    module, _, name = DRIVERS[settings.driver].partition(":")
    kind = getattr(importlib.import_module(module), name)
    if settings.driver == "fake":
        faults = program.parts.get("network.faults")
        fabric = kind(
            host, faults=faults, world=program.parts.setdefault("network.world", {}), bridge_mappings=settings.bridge_mappings,
            tunnel_address=settings.tunnel_address,
        )  # fmt: skip
        program.parts["network.faults"] = fabric.faults
    else:
        fabric = kind(
            host, program.state / "network", cloud=program.settings.region, netns=namespace(program), tunnel_address=settings.tunnel_address,
            bridge_mappings=settings.bridge_mappings, metadata=metadata, masquerade=settings.masquerade, resolvers=tuple(settings.dns_servers),
        )  # fmt: skip
    program.parts.setdefault("network.driver", fabric)
    return fabric


class Pulse:
    """The agent's own threads: one gives heartbeats, the other heals at the start and every so often, however long that takes."""

    def __init__(self, program: Program, agent: NetworkAgent) -> None:
        self._agent, self._settings = agent, program.settings.network
        self._sign = Sign(f"network on {program.host}", 3 * self._settings.heartbeat_every + 30)
        program.health["network"] = self._sign.ask
        self._heard = True  # whether the conductor took the last heartbeat
        self._stop, self._heal_now = threading.Event(), threading.Event()
        works = {"network-pulse": self._live, "network-healing": self._heal}
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in works.items()]

    def start(self) -> None:
        """Tell of this host before anything else waits for it."""
        self._beat()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._heal_now.set()
        for thread in self._threads:
            thread.join(10)

    def _live(self) -> None:
        while not self._stop.wait(self._settings.heartbeat_every if self._heard else 1.0):
            away = not self._heard
            self._beat()
            if away and self._heard:
                self._heal_now.set()  # what this host serves may have been given to another meanwhile

    def _heal(self) -> None:
        while not self._stop.is_set():
            self._heal_now.clear()
            pause = 1.0
            try:
                self._agent.heal()
                pause = self._settings.heal_every
            except PilviError as error:
                log.warning("the network host could not be healed", why=error.message)
            except Exception as error:
                log.defect("", "healing a network host", error)
            self._heal_now.wait(pause)

    def _beat(self) -> None:
        try:
            self._agent.beat()
        except PilviError as error:
            if self._heard:
                log.warning("no heartbeat could be sent", why=error.message)
            self._heard = False
        else:
            self._heard = True
            self._sign.give()
