"""A thread with an event loop of its own: asynchronous libraries run there, and synchronous threads ask it to do things."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

import uvloop

from pilvi.kernel import log

_ONCE_MORE = 0.2  # seconds until what has not ended is cancelled again
_STUBBORN = 25  # times


async def cease(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended.

    A library may tell of the loss of its connection instead of passing a cancellation on that comes in the same moment; who was
    cancelled once would then go on for ever.
    """
    left = {one for one in tasks if not one.done()}
    tries = 0
    while left and tries < _STUBBORN:
        tries += 1
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=_ONCE_MORE)
        for task in ended:
            if not task.cancelled():
                task.exception()  # what it has to say is known to who ends it
    if left:
        log.error("something does not end when it is told to", tasks=[str(one.get_coro()) for one in left])


async def within(seconds: float, coroutine: Coroutine[Any, Any, None]) -> None:
    """Have it done in so many seconds; else it is ended, and TimeoutError raised."""
    task = asyncio.get_running_loop().create_task(coroutine)
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise TimeoutError
    finally:
        await cease([task])
    task.result()


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
