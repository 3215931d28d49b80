"""The metadata proxy: what guests reach at 169.254.169.254, wherever on the host their packets arrive.

Each DHCP and router namespace has a listening socket; all are served by one event loop in a thread of its own.
Guests are hostile: sizes, times and the number of connections are bounded, also for each network alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from pilvi.kernel.errors import HostError
from pilvi.network.drivers.linux import links
from pilvi.network.metadata import MetadataAnswer, MetadataRequest

METADATA_ADDRESS = "169.254.169.254"
HEAD_BYTES, BODY_BYTES = 16 * 1024, 64 * 1024
REQUEST_SECONDS, ANSWER_SECONDS = 10.0, 60.0
CONNECTIONS, CONNECTIONS_EACH = 256, 64

_REQUEST_LINE = re.compile(r"([A-Z]{3,10}) (/[\x21-\x7e]*) HTTP/1\.[01]")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*?)[ \t]*")
_log = logging.getLogger(__name__)


T = TypeVar("T")
Metadata = Callable[[MetadataRequest], MetadataAnswer]


class _Refused(Exception):
    """A request that is answered with a status alone."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


@dataclass
class _Listener:
    where: tuple[str, int, str, str]
    server: asyncio.Server
    busy: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)


class MetadataProxy:
    """Listens in namespaces and asks `answer` for each request; without `answer` it does not listen at all."""

    def __init__(self, answer: Metadata | None) -> None:
        self._answer = answer
        self._listeners: dict[str, _Listener] = {}
        self._lock = threading.Lock()
        self._busy = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None

    def listen(self, namespace: str, address: str, port: int, *, network_id: str = "", router_id: str = "") -> None:
        """Have a listener in the namespace; connections say that they come from that network or router."""
        if self._answer is None:
            return
        where = (address, port, network_id, router_id)
        with self._lock:
            held = self._listeners.get(namespace)
            if held and held.where == where:
                return
            if held:
                self._run(self._close(self._listeners.pop(namespace)))
            opened = _listening_socket(namespace, address, port)
            self._listeners[namespace] = self._run(self._serve(opened, where))

    def leave(self, namespace: str) -> None:
        """Listen in the namespace no more."""
        with self._lock:
            if held := self._listeners.pop(namespace, None):
                self._run(self._close(held))

    def close(self) -> None:
        """Listen nowhere, and end the thread."""
        with self._lock:
            for namespace in list(self._listeners):
                self._run(self._close(self._listeners.pop(namespace)))
            if self._loop and self._thread and self._pool:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._loop = self._thread = self._pool = None

    def _run(self, work: Coroutine[None, None, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._pool = ThreadPoolExecutor(16, thread_name_prefix="metadata")
            self._thread = threading.Thread(target=_loop_forever, args=(self._loop,), name="metadata", daemon=True)
            self._thread.start()
        waiting: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return waiting.result(timeout=30)

    async def _serve(self, opened: socket.socket, where: tuple[str, int, str, str]) -> _Listener:
        async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._converse(listener, reader, writer)

        server = await asyncio.start_server(welcome, sock=opened, limit=HEAD_BYTES)
        listener = _Listener(where, server)
        return listener

    async def _close(self, listener: _Listener) -> None:
        listener.server.close()
        for writer in listener.open:
            writer.close()

    async def _converse(self, listener: _Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its answer, then the connection ends."""
        listener.open.add(writer)
        listener.busy += 1
        self._busy += 1
        try:
            if self._busy > CONNECTIONS or listener.busy > CONNECTIONS_EACH:
                answer = MetadataAnswer(status=503)
            else:
                answer = await self._respond(listener, reader, writer)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REQUEST_SECONDS):
                    writer.write(_wire(answer))
                    await writer.drain()
        except (ConnectionError, OSError) as gone:
            _log.debug("a guest left before its metadata answer: %s", gone)
        finally:
            self._busy -= 1
            listener.busy -= 1
            listener.open.discard(writer)
            writer.close()

    async def _respond(self, listener: _Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> MetadataAnswer:
        assert self._answer
        assert self._pool
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                method, path, headers, body = await _read(reader)
        except TimeoutError:
            return MetadataAnswer(status=408)
        except _Refused as refused:
            return MetadataAnswer(status=refused.status)
        _, _, network_id, router_id = listener.where
        request = MetadataRequest(
            method=method, path=path, headers=headers, body=body, client=writer.get_extra_info("peername")[0],
            network_id=network_id, router_id=router_id,
        )  # fmt: skip
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, request)
        except TimeoutError:
            return MetadataAnswer(status=504)
        except Exception:
            # whatever the cloud's side fails with, the guest is only told that it may ask again
            _log.exception("metadata for %s could not be answered", request.client)
            return MetadataAnswer(status=500)


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    """A whole request, or `_Refused`."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        raise _Refused(400) from None
    except asyncio.LimitOverrunError:
        raise _Refused(431) from None
    first, *lines = head[:-4].split("\r\n")
    asked = _REQUEST_LINE.fullmatch(first)
    if not asked:
        raise _Refused(400)
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if not found or found[1].lower() in headers:
            raise _Refused(400)
        headers[found[1].lower()] = found[2]
    if "transfer-encoding" in headers:
        raise _Refused(411)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise _Refused(400)
    if len(length) > 9 or int(length) > BODY_BYTES:
        raise _Refused(413)
    try:
        body = await reader.readexactly(int(length))
    except asyncio.IncompleteReadError:
        raise _Refused(400) from None
    return asked[1], asked[2], headers, body


def _wire(answer: MetadataAnswer) -> bytes:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    body = answer.body or (b"" if answer.status < 400 else f"{answer.status} {phrase}\n".encode())
    headers = {"Content-Type": "text/plain; charset=utf-8"} | answer.headers
    headers |= {"Content-Length": str(len(body)), "Connection": "close"}
    head = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(head).encode("latin-1", "replace") + body


def _loop_forever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


def _listening_socket(namespace: str, address: str, port: int) -> socket.socket:
    """A socket belongs for ever to the namespace in which it was made."""
    with links.inside(namespace):
        opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, port))
        opened.listen(128)
        opened.setblocking(False)
    except OSError as problem:
        opened.close()
        raise HostError(f"The metadata listener {address}:{port} in {namespace} could not be opened: {problem.strerror}.") from None
    return opened
