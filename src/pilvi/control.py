"""The control socket: what the command line asks of the running program, on a unix socket that only its owner may open."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from pilvi import __version__, compute, findings
from pilvi.kernel import log
from pilvi.kernel.errors import NotFound, PilviError

if TYPE_CHECKING:
    from pilvi.kernel.program import Program

_started = time.time()


def _status(program: Program, query: dict[str, str]) -> Any:
    api = program.settings.api
    return {
        "version": __version__,
        "host": program.host,
        "url": api.public_url or f"http://{api.bind}:{api.port}",
        "state": str(program.state),
        "pid": os.getpid(),
        "uptime": time.time() - _started,
        "memory_mib": _memory(),
        "threads": threading.active_count(),
        "roles": [{"role": role, **_health(program, role)} for role in program.roles],
    }


def _health(program: Program, role: str) -> dict[str, Any]:
    look = program.health.get(role)
    if look is None:
        return {"healthy": True, "detail": ""}
    try:
        return {"healthy": True, "detail": look()}
    except PilviError as error:
        return {"healthy": False, "detail": error.message}


def _memory() -> int:
    """Resident memory of this process, MiB."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def _trace(program: Program, query: dict[str, str]) -> Any:
    with program.db.transaction(write=False) as tx:
        return compute.story(tx, query.get("server", ""))


def _why(program: Program, query: dict[str, str]) -> Any:
    with program.db.transaction(write=False) as tx:
        return compute.reasons(tx, query.get("server", ""))


def _check(program: Program, query: dict[str, str]) -> Any:
    return findings.check(program, repair=bool(query.get("repair")))


PATHS: dict[str, Callable[[Any, dict[str, str]], Any]] = {"/status": _status, "/trace": _trace, "/why": _why, "/check": _check}


class Control:
    """The ASGI application behind the control socket."""

    def __init__(self, program: Program) -> None:
        self.program = program

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        status, told = await asyncio.get_running_loop().run_in_executor(None, self._answer, scope["path"], query)
        body = msgspec.json.encode(told)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        try:
            if path not in PATHS:
                raise NotFound(f"there is no {path}")
            return 200, PATHS[path](self.program, query)
        except PilviError as error:
            return 400, {"error": error.message}
        except Exception as error:
            log.defect("", f"control {path}", error)
            return 500, {"error": "an unexpected error; `pilvi logs` tells more."}
