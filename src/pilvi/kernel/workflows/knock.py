"""A knock: tell the conductors of other processes that there is work, without waiting for anyone."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pilvi.kernel import agent
from pilvi.kernel.bus import Bus
from pilvi.kernel.errors import PilviError

TOPIC = "workers"
_REST = 0.003  # seconds between two knocks: what is written meanwhile is told by one


class Ears:
    """Answers the topic `workers`: a worker looks for work when it hears a knock."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def look(self) -> None:
        """There may be work."""
        self._ring()


class Knocker:
    """Knocks at all conductors whenever it is rung; many rings in one moment are one knock."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._rung = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="knocker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._rung.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def ring(self) -> None:
        """There may be work for others."""
        self._rung.set()

    def _loop(self) -> None:
        while True:
            self._rung.wait()
            if self._stop.is_set():
                return
            self._rung.clear()
            try:
                agent.cast_to(self._bus, Ears, TOPIC, "look", everyone=True)
            except PilviError:
                pass  # workers look by themselves every few seconds
            self._stop.wait(_REST)


def listen(bus: Bus, ring: Callable[[], None]) -> Callable[[], None]:
    """Have `ring` called at each knock; answers what stops it."""
    return agent.serve(bus, TOPIC, Ears(ring), contract=Ears, threads=1)
