"""The server: the asynchronous edge; it reads a request, has a thread answer it, and sends the answer."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pilvi.kernel import metrics
from pilvi.kernel.errors import TooLarge
from pilvi.kernel.http import chain
from pilvi.kernel.http.mount import Mount
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.http.router import Found

if TYPE_CHECKING:
    from pilvi.kernel.program import Program

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Socket = Callable[[Scope, Receive, Send], Awaitable[None]]

_PLAIN = 1 << 16  # bytes of a body outside of the services
_PIECE = 1 << 20  # bytes gathered before a thread is woken for them
_HOST = re.compile(r"\A(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?\Z")


class App:
    """The ASGI application: all services' mounts.

    `threads` answer ordinary requests, `streams` those whose bodies flow (image data).
    """

    def __init__(self, program: Program, mounts: list[Mount], *, threads: int = 8, streams: int = 8) -> None:
        self.program = program
        self.mounts = {mount.prefix.strip("/"): mount for mount in mounts}
        self.by_port: dict[int, Mount] = {}  # OpenStack's classic ports
        self.documents: dict[str, bytes] = {}  # OpenAPI, by service
        self.pages: dict[str, Path] = {}  # first part of a path -> folder of files for browsers
        self.sockets: dict[str, Socket] = {}  # websocket paths
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="api")
        self.streams = ThreadPoolExecutor(streams, thread_name_prefix="stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        mount, path = self._mount(scope)
        if mount is None:
            await self._root(scope, receive, send)
            return
        if path == "/openapi.json":
            await self._send(self._openapi(mount), scope["method"], send, asyncio.get_running_loop())
            return
        request = self._request(scope, mount.prefix.rstrip("/") if path != scope["path"] else "", path)
        found = mount.router.find(request.path)
        loop = asyncio.get_running_loop()
        if _streams(found, request.method):
            request.pull = _pull(receive, loop)
            answer = await loop.run_in_executor(self.streams, chain.run, self.program, mount, request, found)
        else:
            try:
                request.body = await _body(receive, scope, mount.service.dialect.body_limit)
            except TooLarge as error:
                answer = chain.refuse(self.program, mount, request, error)
            else:
                if self.program.db.embedded and _only_reads(found, request.method):
                    # never waits for anyone, and a hop to a thread costs more than most of these
                    answer = chain.run(self.program, mount, request, found)
                else:
                    answer = await loop.run_in_executor(self.threads, chain.run, self.program, mount, request, found)
        await self._send(answer, request.method, send, loop)

    def _mount(self, scope: Scope) -> tuple[Mount | None, str]:
        """The service that is meant, and the path within it."""
        path: str = scope["path"]
        server = scope.get("server")
        mount = self.by_port.get(server[1]) if server else None
        if mount is not None:
            return mount, path
        first, _, rest = path.lstrip("/").partition("/")
        return self.mounts.get(first), "/" + rest

    def _request(self, scope: Scope, prefix: str, path: str) -> Request:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        client = scope.get("client")
        raw = scope.get("raw_path")
        if raw is not None and b"%" in raw:  # an encoded slash is part of a name
            text = raw.decode("latin-1")
            path = text[len(prefix) :] or "/"
        return Request(
            scope["method"], path, scope["query_string"].decode("latin-1"), headers,
            address=client[0] if client else "", base_url=self._base_url(scope, headers), prefix=prefix,
        )  # fmt: skip

    def _base_url(self, scope: Scope, headers: dict[str, str]) -> str:
        """The address by which the caller reached us: as configured, else as its Host header says if that is one."""
        public = self.program.settings.api.public_url
        if public:
            return public.rstrip("/")
        host = headers.get("host", "")
        if not _HOST.match(host):
            server = scope.get("server") or ("127.0.0.1", 80)
            host = f"{server[0]}:{server[1]}"
        return f"{scope.get('scheme', 'http')}://{host}"

    async def _send(self, answer: Answer, method: str, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        headers = [(name.lower().encode("latin-1"), str(value).encode("latin-1", "replace")) for name, value in answer.headers.items()]
        body = answer.body
        if body is None or isinstance(body, bytes):
            body = body or b""
            if answer.status not in (204, 304) and "content-length" not in {name.lower() for name in answer.headers}:
                headers.append((b"content-length", str(len(body)).encode()))
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if method != "HEAD":
            pieces: Iterator[bytes] = body
            try:
                while piece := await loop.run_in_executor(self.streams, next, pieces, b""):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            finally:
                close = getattr(pieces, "close", None)
                if close is not None:
                    await loop.run_in_executor(self.streams, close)
        await send({"type": "http.response.body", "body": b""})

    async def _root(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What stands outside of the services: metrics, health, and where the services are."""
        if scope["path"] == "/metrics":
            answer = Answer(200, metrics.text(), {"Content-Type": "text/plain; version=0.0.4"})
        elif scope["path"] == "/healthz":
            answer = Answer(200, b"ok\n", {"Content-Type": "text/plain"})
        elif (plain := self.program.plain.get(scope["path"])) is not None:
            loop = asyncio.get_running_loop()
            try:
                body = await _body(receive, scope, _PLAIN)
            except TooLarge:
                answer = Answer(413, b"", {})
            else:
                answer = await loop.run_in_executor(self.threads, plain, self.program, scope["method"], scope["path"], body)
        elif (page := self._page(scope["path"])) is not None:
            answer = page
        elif scope["path"] == "/":
            listed = "".join(f"/{name}  {mount.service.title}\n" for name, mount in self.mounts.items())
            answer = Answer(200, f"Pilvi\n\n{listed}".encode(), {"Content-Type": "text/plain"})
        else:
            answer = Answer(404, b'{"error": {"code": 404, "title": "Not Found", "message": "There is no such service."}}')
        await self._send(answer, scope["method"], send, asyncio.get_running_loop())

    def _openapi(self, mount: Mount) -> Answer:
        """The service's own document, made once."""
        from pilvi import __version__
        from pilvi.kernel.http.openapi import document

        made = self.documents.get(mount.prefix)
        if made is None:
            made = self.documents[mount.prefix] = msgspec.json.encode(document(mount.service, __version__))
        return Answer(200, made, {"Content-Type": "application/json"})

    def _page(self, path: str) -> Answer | None:
        """A file for browsers; None when there is no such file, or the path leads out of its folder."""
        first, _, rest = path.lstrip("/").partition("/")
        folder = self.pages.get(first)
        if folder is None or not rest or "\0" in rest:
            return None
        file = (folder / rest).resolve()
        if not file.is_relative_to(folder.resolve()) or not file.is_file():
            return None
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return Answer(200, file.read_bytes(), {"Content-Type": kind, "X-Content-Type-Options": "nosniff"})

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = self.sockets.get(scope["path"])
        if socket is None:
            await receive()
            await send({"type": "websocket.close", "code": 4404})
            return
        await socket(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


def _streams(found: Found | None, method: str) -> bool:
    return found is not None and any(one.route.stream for one in found.place.routes.get(method, ()))


def _only_reads(found: Found | None, method: str) -> bool:
    """Whether all that can answer reads the database and does nothing else."""
    return found is None or all(one.route.write is False for one in found.place.routes.get(method, ()))


async def _body(receive: Receive, scope: Scope, limit: int) -> bytes:
    """The whole body; raises TooLarge."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        piece = message.get("body", b"")
        if piece:
            size += len(piece)
            if size > limit:
                raise chain.too_large(limit)
            parts.append(piece)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _pull(receive: Receive, loop: asyncio.AbstractEventLoop) -> Callable[[], bytes]:
    """A function for a thread: the next piece of the body, at least 1 MiB of it, b"" at its end.

    Raises ConnectionError when the caller has gone before the end.
    """
    ended = False

    async def gather() -> bytes:
        nonlocal ended
        parts: list[bytes] = []
        size = 0
        while size < _PIECE and not ended:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the caller went away before the body's end")
            piece = message.get("body", b"")
            parts.append(piece)
            size += len(piece)
            ended = not message.get("more_body")
        return b"".join(parts)

    def pull() -> bytes:
        return b"" if ended else asyncio.run_coroutine_threadsafe(gather(), loop).result()

    return pull
