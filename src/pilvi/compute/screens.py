"""Screens of machines on other hosts: the host's agent opens a door for one visit, and the console proxy goes through it.

The door is the tunnel by which machines move: TLS, with a pass that travels over the bus.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pilvi.compute.drivers import ConsoleAddress
from pilvi.compute.drivers.libvirt.tls import Files, Identity, Pass, check_pin
from pilvi.compute.drivers.libvirt.tunnel import GREETING, PIECE, Tunnels, to_socket

if TYPE_CHECKING:
    from pilvi.kernel.program import Program

_WAITED_FOR = 30.0  # seconds that a visitor may take to come
_CHANNEL = "screen"


def identity(program: Program) -> Identity:
    """What this process shows to other hosts, and asks of them."""
    folder = program.state / "compute"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tls = program.tls
    files = Files(ca=tls.ca_file, cert=tls.cert_file, key=tls.key_file) if tls and tls.ca_file else Files()
    return Identity(files, folder)


class Screens:
    """Lets the console proxy of another host in to the screens of this one's machines."""

    def __init__(self, program: Program) -> None:
        self._tunnels = Tunnels(identity(program), program.settings.compute.address)

    def open(self, screen: ConsoleAddress) -> ConsoleAddress:
        """Where the screen, a unix socket of this host, can be seen from another one, once and soon.  Raises HostError."""
        begun = threading.Event()

        async def serve(_channel: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if begun.is_set():
                return
            begun.set()
            try:
                await to_socket(Path(screen.path), reader, writer)
            finally:  # not in the thread of the streams, which it waits for
                threading.Thread(target=self._tunnels.dismiss, args=(guest,), name="screen-closed", daemon=True).start()

        def expire() -> None:
            if not begun.is_set():
                self._tunnels.dismiss(guest)

        guest = self._tunnels.admit(serve)
        timer = threading.Timer(_WAITED_FOR, expire)
        timer.daemon = True
        timer.start()
        return ConsoleAddress(kind=screen.kind, host=guest.host, port=guest.port, pin=guest.pin, secret=guest.secret)

    def close(self) -> None:
        """Let nobody in, and those who are in no longer."""
        self._tunnels.close()


async def visit(program: Program, screen: ConsoleAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The bytes of a screen that another host's agent has opened.  Raises OSError, HostError."""
    door = Pass(host=screen.host, port=screen.port, pin=screen.pin, secret=screen.secret)
    context: ssl.SSLContext = identity(program).client()
    reader, writer = await asyncio.open_connection(door.host, door.port, ssl=context, ssl_handshake_timeout=GREETING, limit=PIECE)
    try:
        check_pin(writer.get_extra_info("ssl_object").getpeercert(binary_form=True), door)
        writer.write(f"{door.secret} {_CHANNEL}\n".encode("ascii"))
        said = await asyncio.wait_for(reader.readline(), GREETING)
        if said != b"ok\n":
            raise ConnectionRefusedError("the host does not open the screen")
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer
