"""The console proxy: a websocket on one side, the VNC socket of a machine's host on the other, be it this host or another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from pilvi.compute.drivers import ConsoleAddress
from pilvi.compute.operations import consoles
from pilvi.kernel import log
from pilvi.kernel.errors import PilviError
from pilvi.kernel.http.server import Receive, Scope, Send, Socket
from pilvi.kernel.program import Program

PATH = "/console"  # where the websocket is; noVNC's page lies below it
NOVNC = "novnc/usr/share/novnc"  # in the state folder: where `pilvi demo` unpacks the package of noVNC's page
_PIECE = 1 << 16


def console_socket(program: Program) -> Socket:
    """The ASGI websocket handler for `App.sockets[PATH]`."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        token = _token(scope)
        address = await asyncio.to_thread(_address, program, token) if token and _same_origin(scope) else None
        if address is None:
            await send({"type": "websocket.close", "code": 4403})
            return
        try:
            reader, writer = await _connect(program, address)
        except (OSError, TimeoutError, PilviError) as error:
            log.warning("a console cannot be reached", why=str(error))
            await send({"type": "websocket.close", "code": 4504})
            return
        offered = scope.get("subprotocols") or []
        await send({"type": "websocket.accept", "subprotocol": "binary" if "binary" in offered else None})
        await _join(reader, writer, receive, send)

    return handle


def _token(scope: Scope) -> str:
    """The token from the query."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return query.get("token", [""])[0]


def _same_origin(scope: Scope) -> bool:
    """Whether the page that opened the socket is ours: other pages must not use a browser's way to us."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
    origin, host = headers.get("origin", ""), headers.get("host", "")
    if not origin or origin == "null":
        return True  # not a browser
    return _name(origin.partition("://")[2]) == _name(host)


def _name(netloc: str) -> str:
    """The host of host:port."""
    return netloc.rsplit(":", 1)[0] if ":" in netloc and not netloc.endswith("]") else netloc


def _address(program: Program, token: str) -> ConsoleAddress | None:
    """Where the screen listens that the token opens; None when it opens none."""
    try:
        with program.db.transaction(write=False) as tx:
            server = consoles.server_of(tx, token)
        return None if server is None else consoles.host_agent(program, server).console(server.id, program.host)
    except PilviError as error:
        log.info("a console was asked for in vain", why=error.message)
        return None


async def _connect(program: Program, address: ConsoleAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    if address.secret:
        from pilvi.compute.screens import visit

        return await visit(program, address)
    return await asyncio.open_connection(address.host, address.port)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receive: Receive, send: Send) -> None:
    """Carry bytes both ways until one side ends."""

    async def out() -> None:
        while piece := await reader.read(_PIECE):
            await send({"type": "websocket.send", "bytes": piece})

    async def back() -> None:
        while True:
            message: dict[str, Any] = await receive()
            if message["type"] == "websocket.disconnect":
                return
            piece = message.get("bytes")
            if piece is None:
                piece = (message.get("text") or "").encode("latin-1", "ignore")
            writer.write(piece)
            await writer.drain()

    tasks = {asyncio.create_task(out()), asyncio.create_task(back())}
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    for task in done:
        if task.exception() is not None and not isinstance(task.exception(), (OSError, asyncio.CancelledError)):
            log.warning("a console ended", why=str(task.exception()))
    writer.close()
    try:
        await send({"type": "websocket.close", "code": 1000})
    except (RuntimeError, OSError):
        return  # the other side has gone


def serve(program: Program) -> Callable[[], None]:
    """The role `console`: the websocket on the program's own port."""
    program.sockets[PATH] = console_socket(program)
    for folder in (Path(program.settings.compute.novnc or "/usr/share/novnc"), program.state / NOVNC):
        if (folder / "vnc.html").is_file():
            program.pages[PATH.strip("/")] = folder

    def stop() -> None:
        program.sockets.pop(PATH, None)
        program.pages.pop(PATH.strip("/"), None)

    return stop
