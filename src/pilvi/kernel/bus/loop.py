"""A thread with an event loop of its own: asynchronous libraries run there, and synchronous threads ask it to do things."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

import uvloop

from pilvi.kernel import log


class LoopThread:
    """The thread and its loop; `close` ends both."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name=name, daemon=True)
        self._thread.start()

    def do(self, function: Callable[..., object], *arguments: object) -> None:
        """Have a function called there, soon; never, when the loop has ended."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    def wait_for(self, coroutine: Coroutine[Any, Any, None], seconds: float) -> None:
        """Have something done there, and wait for it a while; what it raises is raised here."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            future.result(seconds)
        except (TimeoutError, CancelledError):
            future.cancel()
            log.warning("something was not finished in time", thread=self.name, seconds=seconds)

    def close(self) -> None:
        self.do(self.loop.stop)
        self._thread.join(5.0)

    def _turn(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=2))
            self.loop.close()
