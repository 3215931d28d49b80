"""A relay between a process and a server of this machine: a link that a test can cut, and join again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress


class Relay:
    """Passes connections to `port` on to the first of the targets that answers, in turn."""

    def __init__(self, targets: Sequence[int]) -> None:
        self.targets = list(targets)
        self.port = 0
        self._turn = 0
        self._open = asyncio.Event()
        self._refuse = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def cut(self, *, refuse: bool = False) -> None:
        """Nothing passes any more: bytes are held, as on a wire that is pulled; or (`refuse`) all connections end, as a server's that stops."""

        def work() -> None:
            self._open.clear()
            self._refuse = refuse
            if refuse:
                for writer in self._writers:
                    writer.transport.abort()

        self._loop.call_soon_threadsafe(work)

    def join(self) -> None:
        """All passes again."""

        def work() -> None:
            self._refuse = False
            self._open.set()

        self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._open.set()
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with suppress(Exception):
            self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuse:
            writer.transport.abort()
            return
        for _ in self.targets:
            self._turn += 1
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.targets[self._turn % len(self.targets)])
            except OSError:
                continue
            break
        else:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        except OSError:
            pass  # who was killed says no goodbye: the other one is told so by the end of its connection
        finally:
            self._writers -= {writer, far_writer}
            for one in (writer, far_writer):
                one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1 << 16):
            await self._open.wait()
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
