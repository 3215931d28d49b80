"""The gate of a host: it carries NBD between hosts over TLS, and outlives Pilvi as the guests do whose disks it carries.

Run as a program with only the standard library: `nbd_gate.py FOLDER`.  It returns when it listens, and goes on in the
background.  FOLDER/gate.json tells where other hosts' gates are let in; FOLDER/ways/NAME.json leads from the socket
FOLDER/NAME.sock to an export of another host.  SIGHUP has the ways looked at again, SIGTERM ends it.

A gate greets another with `EXPORT SECRET` on one line.  It is let in when that export is recorded with that secret, and
meets no other export: what an NBD client says before data flow is read here, and passed on only when it names this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PIECE = 1 << 18
GREETING = 10.0  # seconds to say who one is
LONGEST = 1 << 16  # bytes of an NBD option
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
# NBD's fixed newstyle negotiation
_OPTION = b"IHAVEOPT"
_REPLY = 0x3E889045565A9
_EXPORT_NAME, _ABORT, _INFO, _GO, _STRUCTURED, _LIST_META, _SET_META = 1, 2, 6, 7, 8, 9, 10
_ACKNOWLEDGED, _ERROR, _UNSUPPORTED = 1, 1 << 31, (1 << 31) + 1


class Gate:
    """What one process carries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = json.loads((folder / "gate.json").read_text())
        self._ways: dict[str, tuple[str, asyncio.Server, set[asyncio.StreamWriter]]] = {}
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ready: Callable[[], None]) -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._do(self.look()))
        if self.config.get("address"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(self.config["certificate"], self.config["key"])
            await asyncio.start_server(
                self._arrived, self.config["address"], self.config["port"], ssl=context, ssl_handshake_timeout=GREETING, limit=PIECE
            )
        await self.look()
        ready()
        await ended.wait()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- guests of this host, on their way to others -----------------------------------------------

    async def look(self) -> None:
        """Have a socket for each way, and none for those that are gone."""
        async with self._turn:
            wanted = {}
            for path in (self.folder / "ways").glob("*.json"):
                with contextlib.suppress(OSError):
                    wanted[path.stem] = path.read_text()
            for name in [name for name, (text, _, _) in self._ways.items() if wanted.get(name) != text]:
                _, server, open_ones = self._ways.pop(name)
                server.close()
                for writer in list(open_ones):
                    writer.transport.abort()
                (self.folder / f"{name}.sock").unlink(missing_ok=True)
            for name in wanted.keys() - self._ways.keys():
                await self._open(name, wanted[name])

    async def _open(self, name: str, text: str) -> None:
        way, open_ones = json.loads(text), set[asyncio.StreamWriter]()

        async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            open_ones.add(writer)
            try:
                await _leave(way, (reader, writer))
            finally:
                open_ones.discard(writer)

        path = self.folder / f"{name}.sock"
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(leave, path, limit=PIECE)
        path.chmod(0o600)
        self._ways[name] = text, server, open_ones

    # -- other hosts' guests ------------------------------------------------------------------------

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = None
        try:
            said = await asyncio.wait_for(reader.readuntil(b"\n"), GREETING)
            export, _, secret = said[:512].decode("ascii").rstrip("\n").partition(" ")
            if not self._known(export, secret):
                return
            _keep_alive(writer)
            there, far = await asyncio.open_unix_connection(self.config["nbd"], limit=PIECE)
            if await asyncio.wait_for(negotiate((reader, writer), (there, far), export.encode()), GREETING):
                await both_ways((reader, writer), (there, far))
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it tries again, or was never a gate
        finally:
            for stream in (far, writer):
                if stream is not None:
                    stream.transport.abort()

    def _known(self, export: str, secret: str) -> bool:
        if not _ID.fullmatch(export) or not secret:
            return False
        try:
            record = json.loads(Path(self.config["exports"], f"{export}.json").read_text())
        except (OSError, ValueError):
            return False
        return hmac.compare_digest(str(record.get("secret", "")), secret)


async def _leave(way: dict[str, Any], near: Stream) -> None:
    """Bring a guest's connection to the gate of the host that has its volume."""
    far = None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # the fingerprint says exactly which certificate it must be
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, far = await asyncio.open_connection(way["host"], way["port"], ssl=context, ssl_handshake_timeout=GREETING, limit=PIECE)
        shown = far.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
        if not hmac.compare_digest(hashlib.sha256(shown).hexdigest(), way["pin"]):
            return
        _keep_alive(far)
        far.write(f"{way['export']} {way['secret']}\n".encode("ascii"))
        await both_ways(near, (reader, far))
    except (OSError, TimeoutError):
        pass  # the guest's emulator tries again
    finally:
        for stream in (far, near[1]):
            if stream is not None:
                stream.transport.abort()


async def negotiate(client: Stream, server: Stream, export: bytes) -> bool:
    """Let client and server agree on this export; False when they do not, or the client asks for another one."""
    client[1].write(await server[0].readexactly(18))  # who the server is
    server[1].write(await client[0].readexactly(4))  # flags
    while True:
        head = await client[0].readexactly(16)
        magic, option, length = struct.unpack(">8sII", head)
        if magic != _OPTION or length > LONGEST:
            return False
        body = await client[0].readexactly(length)
        if option in (_INFO, _GO, _LIST_META, _SET_META):
            size = struct.unpack_from(">I", body)[0] if length >= 4 else 0
            named = body[4 : 4 + size]
        elif option == _EXPORT_NAME:
            named = body
        elif option in (_ABORT, _STRUCTURED):
            named = export
        else:  # above all: to list other exports
            client[1].write(struct.pack(">QIII", _REPLY, option, _UNSUPPORTED, 0))
            continue
        if named != export:
            return False
        server[1].write(head + body)
        if option == _EXPORT_NAME:
            return True
        answer = await _answer(server, client)
        if option == _ABORT or (option == _GO and answer == _ACKNOWLEDGED):
            return option == _GO


async def _answer(server: Stream, client: Stream) -> int:
    """Pass on the server's replies to one option; answers the last one's type."""
    while True:
        head = await server[0].readexactly(20)
        _, _, kind, length = struct.unpack(">QIII", head)
        if length > LONGEST:
            raise ValueError("a reply is too long")
        client[1].write(head + await server[0].readexactly(length))
        await client[1].drain()
        if kind == _ACKNOWLEDGED or kind & _ERROR:
            return int(kind)


async def both_ways(one: Stream, other: Stream) -> None:
    """Carry bytes both ways until one side ends."""
    ways = [asyncio.ensure_future(_copy(one[0], other[1])), asyncio.ensure_future(_copy(other[0], one[1]))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Notice a host that has vanished; one that is only cut off for a while is waited for."""
    link: socket.socket = writer.get_extra_info("socket")
    for level, name, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15), (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 8),
    ):  # fmt: skip
        link.setsockopt(level, name, value)


def main(folder: Path) -> None:
    """Go to the background; the caller waits until it is known whether the gate stands."""
    heard, tell = os.pipe()
    if os.fork():
        os.close(tell)
        with os.fdopen(heard) as words:
            said = words.read()
        if said != "ready":
            sys.exit(said or "the gate ended at once")
        return
    os.close(heard)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.chdir("/")
    (folder / "pid").write_text(str(os.getpid()))

    def ready() -> None:
        os.write(tell, b"ready")
        os.close(tell)

    try:
        asyncio.run(Gate(folder).run(ready))
    except (OSError, ValueError, KeyError) as error:
        with contextlib.suppress(OSError):
            os.write(tell, (getattr(error, "strerror", None) or str(error) or type(error).__name__).encode())
    finally:
        (folder / "pid").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
