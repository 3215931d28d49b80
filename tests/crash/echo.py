"""Echoes: what a process says on the bus arrives a second time, late; nothing that was done since may be undone by it."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import Any

from pilvi.kernel.errors import PilviError

LATEST = 3.0  # seconds
_AT_ONCE = 64  # echoes that may be on their way


class Echo:
    """Has a share of what the program says, calls and casts, said once more after a while."""

    def __init__(self, program: Any, share: float) -> None:
        self.share = share
        self._dice = random.Random()
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._call, self._cast = program.bus.call, program.bus.cast
        program.bus.call, program.bus.cast = self.call, self.cast

    def call(self, topic: str, message: Any, *, host: str = "", timeout: float = 60.0) -> Any:
        self._later(lambda: self._call(topic, message, host=host, timeout=timeout))
        return self._call(topic, message, host=host, timeout=timeout)

    def cast(self, topic: str, message: Any, *, host: str = "") -> None:
        self._later(lambda: self._cast(topic, message, host=host))
        self._cast(topic, message, host=host)

    def _later(self, say: Any) -> None:
        if self._dice.random() >= self.share or not self._room.acquire(blocking=False):
            return
        pause = LATEST * self._dice.random() ** 2  # most of them soon, when they hurt most

        def work() -> None:
            time.sleep(pause)
            try:
                with suppress(PilviError):
                    say()
            finally:
                self._room.release()

        threading.Thread(target=work, name="echo", daemon=True).start()
