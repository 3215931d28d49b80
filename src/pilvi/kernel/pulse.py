"""A pulse: a thread that does one short thing every so often, and outlives what goes wrong in it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pilvi.kernel import log
from pilvi.kernel.errors import PilviError
from pilvi.kernel.health import Sign


class Pulse:
    """Does `work` once when started and then every `every` seconds until stopped."""

    def __init__(self, name: str, every: float, work: Callable[[], None]) -> None:
        self._name, self._every, self._work = name, every, work
        self.sign = Sign(name, 3 * every + 30)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Beat for the first time before this returns, so that what depends on it finds it."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _loop(self) -> None:
        while not self._stop.wait(self._every):
            self._beat()

    def _beat(self) -> None:
        try:
            self._work()
            self.sign.give()
        except PilviError as error:
            log.warning("a report could not be made", of=self._name, why=error.message)
        except Exception as error:
            log.defect("", self._name, error)
