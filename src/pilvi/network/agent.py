"""The network agent of a host: asks what should be there, and has the driver make it so.

It keeps nothing: each message names a subject, whose description is pulled when its turn has come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pilvi.kernel import log
from pilvi.kernel.agent import remote
from pilvi.kernel.errors import PilviError
from pilvi.network import conductor as conductor_side
from pilvi.network.conductor import NetworkConductor, Outside
from pilvi.network.drivers import Fabric, FabricState

if TYPE_CHECKING:
    from pilvi.kernel.bus import Bus

TOPIC = "network"


class NetworkAgent:
    """The methods that workflows call over the bus."""

    def __init__(self, bus: Bus, host: str, fabric: Fabric, *, settings: Any) -> None:
        self._host, self._fabric, self._settings = host, fabric, settings
        # what is asked may be asked twice: when a conductor gives no sign of life, another one is asked
        self._conductor = remote(bus, NetworkConductor, conductor_side.TOPIC, timeout=25, patience=25)
        self._herald = remote(bus, NetworkConductor, conductor_side.TOPIC, timeout=10)
        self._turns = Turns()
        self._outside: dict[str, list[Outside]] = {}  # by network: what was ensured, so that it can be taken away
        self._started_at = time.time()

    def refresh_ports(self, ids: list[str]) -> None:
        """Have these ports as described: plugged, or gone."""
        up: list[str] = []
        with self._turns.of(*(f"port:{one}" for one in ids)):
            wanted = {wish.id: wish for wish in self._conductor.describe_ports(ids, self._host)}
            for one in ids:
                wish = wanted.get(one)
                if wish is None:
                    self._fabric.remove_port(one)
                else:
                    self._fabric.ensure_port(wish)
                    up.append(one)
        if up:
            self._conductor.report_ports_up(self._host, up)

    def refresh_network(self, network_id: str) -> None:
        """Have the network with its peers and its DHCP as described, or gone."""
        with self._turns.of(f"network:{network_id}"):
            wish = self._conductor.describe_network(network_id, self._host)
            before = self._outside.get(network_id, [])
            if wish.segment is None:
                self._fabric.remove_dhcp(network_id)
                self._leave_outside(network_id, before)
                self._fabric.remove_segment(network_id)
                return
            self._fabric.ensure_segment(wish.segment)
            if wish.dhcp is None:
                self._fabric.remove_dhcp(network_id)
            else:
                self._fabric.ensure_dhcp(wish.dhcp)
                self._conductor.report_dhcp_up(self._host, network_id)
            self._leave_outside(network_id, [one for one in before if one not in wish.outside])
            for one in wish.outside:
                self._fabric.ensure_outside(one.physical_network, one.cidr, one.gateway)
            if wish.outside:
                self._outside[network_id] = list(wish.outside)

    def refresh_router(self, router_id: str) -> None:
        """Have the router as described, or gone."""
        with self._turns.of(f"router:{router_id}"):
            wish = self._conductor.describe_router(router_id, self._host)
            if wish is None:
                self._fabric.remove_router(router_id)
                return
            self._fabric.ensure_router(wish)
            carried = {one.floating for one in wish.floating_ips} | {one.floating for one in wish.forwardings}
            self._conductor.report_router_up(self._host, router_id, sorted(carried) if wish.gateway and wish.admin_up else [])

    def heal(self) -> None:
        """Have all on this host as described, and what nobody knows gone; what is as it should be is not disturbed."""
        wanted = self._herald.everything_on(self._host)  # who has just begun is first to be heard of
        seen = self._fabric.observe()
        ports = sorted({*wanted.ports, *seen.ports})
        for start in range(0, len(ports), 50):
            self._try("ports", lambda some=ports[start : start + 50]: self.refresh_ports(some))
        for router_id in sorted({*wanted.routers, *seen.routers}):
            self._try(router_id, lambda one=router_id: self.refresh_router(one))
        for network_id in sorted({*wanted.networks, *seen.segments, *seen.dhcp}):
            self._try(network_id, lambda one=network_id: self.refresh_network(one))

    def _try(self, subject: str, work: Callable[[], None]) -> None:
        """One thing that cannot be made so does not keep the others from it."""
        try:
            work()
        except PilviError as error:
            log.warning("the host could not be healed", host=self._host, subject=subject, why=error.message)

    def _leave_outside(self, network_id: str, gone: list[Outside]) -> None:
        for one in gone:
            self._fabric.remove_outside(one.physical_network, one.cidr)
        if gone:
            self._outside.pop(network_id, None)

    def observe(self) -> FabricState:
        """What lies on this host."""
        return self._fabric.observe()

    def beat(self) -> None:
        """Tell the conductor that this host lives, and what it can."""
        self._herald.heartbeat(self._host, self._fabric.facts(), self._started_at)


class Turns:
    """One lock for each subject, kept only while someone wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def of(self, *subjects: str) -> Iterator[None]:
        """Be the only one at work on these subjects."""
        ordered = sorted(set(subjects))
        locks = [self._want(one) for one in ordered]
        taken: list[threading.Lock] = []
        try:
            for lock in locks:
                lock.acquire()
                taken.append(lock)
            yield
        finally:
            for lock in reversed(taken):
                lock.release()
            for one in ordered:
                self._leave(one)

    def _want(self, subject: str) -> threading.Lock:
        with self._lock:
            lock, count = self._held.get(subject, (threading.Lock(), 0))
            self._held[subject] = lock, count + 1
            return lock

    def _leave(self, subject: str) -> None:
        with self._lock:
            lock, count = self._held[subject]
            if count > 1:
                self._held[subject] = lock, count - 1
            else:
                del self._held[subject]
