"""Running: the program with its HTTP servers, from start to SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilvi.control import Control
from pilvi.kernel import log
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http.server import App

if TYPE_CHECKING:
    from pilvi.kernel.program import Program


def serve(program: Program, control_socket: Path, pid_file: Path) -> None:
    """Start the program, answer HTTP until SIGTERM or SIGINT, then stop it."""
    import uvloop

    listeners = _listeners(program)
    os.umask(os.umask(0o077) | 0o022)  # said before there are threads, which share it: nobody else may write what is made here
    _settle_allocator()
    program.start()
    gc.freeze()  # what has been loaded by now stays for good: no collection looks at it again
    gc.set_threshold(20_000, 20, 50)  # an answer's thousands of short-lived views are no reason to collect
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(program, listeners, control_socket, pid_file))
    finally:
        program.stop()
        log.info("stopped")


def _settle_allocator() -> None:
    """Have all threads share glibc's one arena: each of its own would keep its share of large blocks (password hashes, long answers)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is not None:
        mallopt(-8, 1)  # M_ARENA_MAX


async def _serve(program: Program, listeners: list[socket.socket], control_socket: Path, pid_file: Path) -> None:
    import uvicorn

    app = App(program, program.mounts, threads=program.settings.api.threads, streams=program.settings.api.streams)
    if program.settings.api.classic_ports:
        app.by_port = {mount.service.port: mount for mount in program.mounts}
    app.pages = program.pages
    for path, made in program.sockets.items():
        app.sockets[path] = made
    control_socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        control_socket.unlink()
    with socket.socket(socket.AF_UNIX) as left:  # the server takes over the mode of the one that it replaces
        os.fchmod(left.fileno(), 0o600)
        left.bind(str(control_socket))
    common: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "server_header": False, "timeout_keep_alive": 75}
    tls = {"ssl_certfile": program.tls.cert_file, "ssl_keyfile": program.tls.key_file} if program.tls else {}
    # an encrypted connection that its client keeps open takes part in its closing, or not
    common["timeout_graceful_shutdown"] = 5 if tls else 25
    public = uvicorn.Server(uvicorn.Config(app, http="httptools", ws="websockets-sansio", ws_max_size=1 << 20, **tls, **common))
    control = uvicorn.Server(uvicorn.Config(Control(program), uds=str(control_socket), **common))
    loop = asyncio.get_running_loop()
    servers = (public, control) if listeners else (control,)

    def end() -> None:
        for server in servers:
            server.should_exit = True

    for server in servers:
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    pid_file.write_text(str(os.getpid()))
    try:
        task = loop.create_task(control.serve())
        while not control.started and not task.done():
            await asyncio.sleep(0.005)
        await asyncio.gather(*([public.serve(sockets=listeners)] if listeners else []), task)
    finally:
        for file in (control_socket, pid_file):
            with contextlib.suppress(FileNotFoundError):
                file.unlink()


def _listeners(program: Program) -> list[socket.socket]:
    """The ports, taken before anything is started, so that a clash is one clear sentence."""
    api = program.settings.api
    wanted = [api.port]
    if api.classic_ports:
        wanted += [mount.service.port for mount in program.mounts]
    taken: list[socket.socket] = []
    if "api" not in program.roles:
        return taken
    for port in wanted:
        listener = socket.socket(socket.AF_INET6 if ":" in api.bind else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((api.bind, port))
        except OSError as error:
            raise Invalid(
                f"port {port} on {api.bind} cannot be used ({error.strerror}); "
                "set another by `port` under [api] in pilvi.toml, or by PILVI_API__PORT."
            ) from None
        listener.listen(2048)
        listener.setblocking(False)
        taken.append(listener)
    return taken
