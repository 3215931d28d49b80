"""Signs of life: who works at a call says so now and then; who waits asks another, or gives up, when no sign comes.

A process that was killed is told of by its broker.  One that is frozen, or cut off, is not: its callers would wait until their time
is out.  A sign is an answer without a byte; a call that is answered at once needs none.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from pilvi.kernel.bus.letters import Letter

FIRST = 0.25  # seconds after which the first sign is given
EVERY = 1.0  # seconds between two signs
AGAIN = 1.0  # seconds without the first one after which a call that anyone may answer is said once more
SILENCE = 4.0  # seconds without one after which a call has failed


class Signs:
    """The calls that this process owes an answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[tuple[str, str], tuple[float, Letter]] = {}  # by caller: when the next sign is due, and the empty letter to it

    def begin(self, reply: Letter) -> bool:
        """A call has come; False when it came before and is being worked at: then a sign is due at once."""
        key, now = (reply.address, reply.call), time.monotonic()
        with self._lock:
            known = key in self._due
            self._due[key] = (now if known else now + FIRST, reply)
            return not known

    def end(self, reply: Letter) -> None:
        """The call is about to be answered."""
        with self._lock:
            self._due.pop((reply.address, reply.call), None)

    async def give(self, post: Callable[[Letter], object]) -> None:
        """Have signs posted, for as long as this is awaited."""
        while True:
            await asyncio.sleep(FIRST)
            for reply in self._take(time.monotonic()):
                post(reply)

    def _take(self, now: float) -> list[Letter]:
        """Those to whom a sign is due."""
        with self._lock:
            due = [(key, reply) for key, (when, reply) in self._due.items() if when <= now]
            for key, reply in due:
                self._due[key] = (now + EVERY, reply)
        return [reply for _, reply in due]
