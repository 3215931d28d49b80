"""Byte streams between the agents of two hosts: TLS, and a door that opens only to who shows the secret of a pass.

A caller says `SECRET CHANNEL` on one line and is answered `ok`, or a sentence, on one; then the channel's bytes follow.
Machines and libvirtd know nothing of this: they meet unix sockets, and need no way from host to host of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilvi.compute.drivers.libvirt.tls import Identity, Pass, check_pin, new_secret
from pilvi.kernel.errors import HostError

log = logging.getLogger(__name__)

PIECE = 1 << 18  # bytes carried at a time
LINE = 1024  # bytes of a greeting or an answer
GREETING = 10.0  # seconds that a caller has to say who it is
SILENCE = 120.0  # seconds without a byte after which a file that is being read counts as lost
STRANGERS = 64  # callers at a time that have not said yet who they are

Serve = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class _Guest:
    serve: Serve
    streams: set[asyncio.StreamWriter] = field(default_factory=set)


class Tunnels:
    """The streams of one host.  It listens at `address` only while somebody is expected."""

    def __init__(self, identity: Identity, address: str, port: int = 0) -> None:
        self.identity, self.address, self.port = identity, address, port
        self._guests: dict[str, _Guest] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._strangers = 0

    # -- the side that others come to ------------------------------------------------------------------

    def admit(self, serve: Serve, earlier: Pass | None = None) -> Pass:
        """Let a guest in, whose channels `serve` serves.  `earlier`: a pass handed out before a restart, kept if possible.

        Raises HostError when nobody can listen at the address.
        """
        secret = earlier.secret if earlier else new_secret()
        with self._lock:
            server = self._server = self._server or self._run(self._listen(earlier.port if earlier else self.port))
            port = server.sockets[0].getsockname()[1]
            self._guests.setdefault(_digest(secret), _Guest(serve)).serve = serve
        return Pass(host=self.address, port=port, pin=self.identity.pin(), secret=secret)

    def dismiss(self, guest: Pass) -> None:
        """Have the pass good for nothing, and what it opened closed."""
        with self._lock:
            gone = self._guests.pop(_digest(guest.secret), None)
            if gone is not None:
                self._run(self._hang_up(gone))
            if not self._guests and self._server is not None:
                self._run(self._unlisten(self._server))
                self._server = None

    def close(self) -> None:
        """Have no stream and no listener; passes stay good for who comes after."""
        with self._lock:
            if self._loop is None:
                return
            for guest in self._guests.values():
                self._run(self._hang_up(guest))
            if self._server is not None:
                self._run(self._unlisten(self._server))
            self._guests, self._server = {}, None
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    # -- the side that goes to others ------------------------------------------------------------------

    def call(self, to: Pass, channel: str) -> ssl.SSLSocket:
        """A channel of another host, for reading.  Raises HostError with what hinders, or what the host there says."""
        try:
            raw = socket.create_connection((to.host, to.port), timeout=GREETING)
        except OSError as error:
            raise HostError(f"The host at {to.place} cannot be reached: {error.strerror or error}.") from None
        open_one: socket.socket = raw
        try:
            open_one = stream = self.identity.client().wrap_socket(raw)
            check_pin(stream.getpeercert(binary_form=True), to)
            stream.settimeout(SILENCE)
            stream.sendall(_greeting(to, channel))
            said = b""
            while not said.endswith(b"\n") and len(said) < LINE:
                piece = stream.recv(1)
                if not piece:
                    raise HostError(f"The host at {to.place} does not let us in; what it had ready may be withdrawn.")
                said += piece
        except HostError:
            open_one.close()
            raise
        except OSError as error:
            open_one.close()
            raise HostError(f"The host at {to.place} and this one cannot agree on a safe connection: {_reason(error)}.") from None
        if said != b"ok\n":
            stream.close()
            raise HostError(said.decode(errors="replace").strip())
        return stream

    @contextmanager
    def carrying(self, to: Pass, channels: dict[str, Path]) -> Iterator[None]:
        """Within this, who connects to one of the unix sockets talks to that channel of the other host."""
        with self._lock:
            started = [self._run(self._carry(to, channel, path)) for channel, path in channels.items()]
        try:
            yield
        finally:
            with self._lock:
                for server, guest in started:
                    self._run(self._hang_up(guest))
                    self._run(self._unlisten(server))
            for path in channels.values():
                path.unlink(missing_ok=True)

    # -- parts -----------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do it in the thread of the streams, which is begun by the first need."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_forever, args=(self._loop,), name="tunnels", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self, port: int) -> asyncio.Server:
        context, hindered = self.identity.server(), ""
        for wished in dict.fromkeys((port, self.port)):
            try:
                return await asyncio.start_server(
                    self._met, self.address, wished, ssl=context, ssl_handshake_timeout=GREETING, ssl_shutdown_timeout=5, limit=PIECE
                )
            except OSError as error:
                hindered = error.strerror or str(error)
        raise HostError(f"This host cannot be reached at {self.address} port {self.port or port}: {hindered}; look at compute.address.")

    async def _unlisten(self, server: asyncio.Server) -> None:
        server.close()

    async def _hang_up(self, guest: _Guest) -> None:
        for stream in guest.streams:
            stream.transport.abort()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody came to the door."""
        guest, channel = None, ""
        try:
            if self._strangers < STRANGERS:
                self._strangers += 1
                try:
                    said = await asyncio.wait_for(reader.readuntil(b"\n"), GREETING)
                finally:
                    self._strangers -= 1
                secret, _, channel = said[:LINE].decode("ascii").rstrip("\n").partition(" ")
                guest = self._guests.get(_digest(secret))
            if guest is None:
                log.warning("somebody without a pass came from %s", writer.get_extra_info("peername"))
                return
            guest.streams.add(writer)
            await guest.serve(channel, reader, writer)
        except (OSError, ValueError, HostError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("a stream from another host ended: %s", error)
        except Exception:
            log.exception("a stream from another host failed")
        finally:
            if guest is not None:
                guest.streams.discard(writer)
            await _close(writer)

    async def _carry(self, to: Pass, channel: str, path: Path) -> tuple[asyncio.Server, _Guest]:
        context = self.identity.client()
        here = _Guest(_never)

        async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far = None
            here.streams.add(writer)
            try:
                there, far = await asyncio.open_connection(
                    to.host, to.port, ssl=context, ssl_handshake_timeout=GREETING, ssl_shutdown_timeout=5, limit=PIECE
                )
                here.streams.add(far)
                check_pin(far.get_extra_info("ssl_object").getpeercert(binary_form=True), to)
                far.write(_greeting(to, channel))
                answer = await asyncio.wait_for(there.readuntil(b"\n"), GREETING)
                if answer != b"ok\n":
                    raise HostError(answer[:LINE].decode(errors="replace").strip())
                await _first_end(_copy(reader, far), _copy(there, writer))
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, HostError) as error:
                log.warning("the stream to %s ended: %s", to.place, error)
            finally:
                for stream in (far, writer):
                    if stream is not None:
                        here.streams.discard(stream)
                        await _close(stream)

        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(met, path, limit=PIECE)
        path.chmod(0o600)
        return server, here


async def to_socket(path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forward: Copy | None = None) -> None:
    """Serve a channel by what listens on a unix socket of this host; `forward` may look at what is said to it."""
    try:
        there, far = await asyncio.open_unix_connection(path, limit=PIECE)
    except OSError:
        writer.write(b"Nothing listens for that yet, or no more.\n")
        await writer.drain()
        return
    try:
        writer.write(b"ok\n")
        await _first_end((forward or _copy)(reader, far), _copy(there, writer))
    finally:
        await _close(far)


Copy = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def _first_end(*ways: Coroutine[Any, Any, None]) -> None:
    """Carry bytes each way until one side ends; what it had said before that arrives."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await task


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close, with what is still to be sent being sent first."""
    writer.close()
    with suppress(OSError, TimeoutError, asyncio.CancelledError):
        await asyncio.wait_for(writer.wait_closed(), GREETING)


async def _never(_channel: str, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    raise AssertionError("nobody is served here")


def _forever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_cancel_all())
        loop.close()


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _greeting(to: Pass, channel: str) -> bytes:
    return f"{to.secret} {channel}\n".encode("ascii")


def _digest(secret: str) -> str:
    # looking a digest up tells nothing of the secret by the time that it takes
    return hashlib.sha256(secret.encode()).hexdigest()


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS failed").lower().replace("_", " ")
    return error.strerror or str(error)
