"""The roles of the network service: its conductor side, and the agent of a host with its driver."""

from __future__ import annotations

import importlib
import threading
import time
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
    stop = bus_agent.serve(program.bus, TOPIC, agent, host=host, threads=8)
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
    """The agent's own thread: heartbeats, and healing at the start and every so often."""

    def __init__(self, program: Program, agent: NetworkAgent) -> None:
        self._agent, self._settings = agent, program.settings.network
        self._sign = Sign(f"network on {program.host}", 3 * self._settings.heartbeat_every + 30)
        program.health["network"] = self._sign.ask
        self._heard = True  # whether the conductor took the last heartbeat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="network-pulse", daemon=True)

    def start(self) -> None:
        """Tell of this host before anything else waits for it."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _live(self) -> None:
        heal_at = 0.0
        while not self._stop.is_set():
            try:
                if time.monotonic() >= heal_at:
                    self._agent.heal()
                    heal_at = time.monotonic() + self._settings.heal_every
            except PilviError as error:
                log.warning("the network host could not be healed", why=error.message)
            except Exception as error:
                log.defect("", "healing a network host", error)
            if self._stop.wait(self._settings.heartbeat_every if heal_at and self._heard else 1.0):
                return
            away = not self._heard
            self._beat()
            if away and self._heard:
                heal_at = 0.0  # what this host serves may have been given to another meanwhile

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
