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
from pilvi.kernel import hosts, log, processes
from pilvi.kernel.errors import Invalid, NotFound, PilviError
from pilvi.kernel.program import AGENTS

if TYPE_CHECKING:
    from pilvi.kernel.program import Program

def _status(program: Program, query: dict[str, str]) -> Any:
    return {
        "version": __version__,
        "host": program.host,
        "url": program.url if "api" in program.roles else "",
        "state": str(program.state),
        "pid": os.getpid(),
        "uptime": time.time() - program.started_at,
        "memory_mib": processes.memory_mib(),
        "threads": threading.active_count(),
        "roles": [msgspec.to_builtins(processes.state_of(program, role)) for role in program.roles],
        "others": _others(program) if program.has_database else [],
    }


def _others(program: Program) -> list[dict[str, Any]]:
    """The cloud's other processes, as they last told of themselves."""
    with program.db.transaction(write=False) as tx:
        rows = [row for row in processes.known(tx) if row.id != f"{program.host}/{program.digest}"]
    return [
        {
            "host": row.host, "pid": row.pid, "version": row.version, "memory_mib": row.memory_mib, "uptime": time.time() - row.started_at,
            "silent": time.time() - row.heartbeat_at, "up": processes.is_up(program, row), "roles": row.roles,
        }
        for row in rows
    ]  # fmt: skip


def _trace(program: Program, query: dict[str, str]) -> Any:
    with program.db.transaction(write=False) as tx:
        return compute.story(tx, query.get("server", ""))


def _why(program: Program, query: dict[str, str]) -> Any:
    with program.db.transaction(write=False) as tx:
        if query.get("move"):
            return compute.why_move(program, tx, query.get("server", ""))
        return compute.reasons(tx, query.get("server", ""))


def _check(program: Program, query: dict[str, str]) -> Any:
    return findings.check(program, repair=bool(query.get("repair")))


def _host_add(program: Program, query: dict[str, str]) -> Any:
    roles = [one for one in query.get("roles", "").split(",") if one]
    unknown = [one for one in roles if one not in AGENTS]
    if unknown or not roles:
        raise Invalid(f"A host's roles are among {', '.join(sorted(AGENTS))}; {', '.join(unknown) or 'none'} is not.", field="roles")
    return {"url": program.url, "token": hosts.invite(program, query.get("name", ""), roles), "tls": program.tls is not None}


def _host_list(program: Program, query: dict[str, str]) -> Any:
    with program.db.transaction(write=False) as tx:
        joined, running = hosts.known(tx), processes.known(tx)
    return {"hosts": [_host(program, host, [one for one in running if one.host == host.name]) for host in joined]}


def _host(program: Program, host: hosts.Host, running: list[processes.Process]) -> dict[str, Any]:
    alive = [one for one in running if processes.is_up(program, one)]
    ill = [f"{role.role}: {role.detail}" for one in alive for role in one.roles if not role.healthy]
    silent = not alive and host.joined_at
    return {
        "name": host.name, "address": host.address, "roles": host.roles, "joined": bool(host.joined_at), "well": bool(alive) and not ill,
        "detail": "; ".join(ill) or ("not heard of" if silent else ", ".join(f"version {one.version}, {one.memory_mib} MiB" for one in alive)),
    }  # fmt: skip


def _host_remove(program: Program, query: dict[str, str]) -> Any:
    hosts.remove(program, query.get("name", ""))
    return {}


def _host_drain(program: Program, query: dict[str, str]) -> Any:
    host = query.get("name", "")
    program.db.run(lambda tx: compute.drain(program.system_context(tx), host))
    return _host_drained(program, query)


def _host_drained(program: Program, query: dict[str, str]) -> Any:
    with program.db.transaction(write=False) as tx:
        servers = compute.draining(tx, query.get("name", ""))
    return {
        "servers": [{"id": one.server_id, "name": one.name, "sentence": _sentence(one)} for one in servers],
        "left": sum(one.state != "gone" for one in servers), "moving": sum(one.state in ("waits", "going") for one in servers),
    }  # fmt: skip


def _sentence(one: compute.Draining) -> str:
    """How it stands with one server of a host that is being emptied."""
    to = f" to {one.to}" if one.to else ""
    return {"waits": "waits for its turn", "going": f"is on its way{to}", "gone": f"has moved{to}"}.get(one.state, f"stays: {one.why}")


PATHS: dict[str, Callable[[Any, dict[str, str]], Any]] = {
    "/status": _status, "/trace": _trace, "/why": _why, "/check": _check,
    "/host/add": _host_add, "/host/list": _host_list, "/host/remove": _host_remove,
    "/host/drain": _host_drain, "/host/drained": _host_drained,
}  # fmt: skip


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
