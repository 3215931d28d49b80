"""Healing: hold what hosts report against what shall be; note what changed by itself, mend what is missing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from pilvi.compute.drivers import SeenMachine
from pilvi.compute.events import ServerChanged
from pilvi.compute.operations import actions
from pilvi.compute.tables.servers import POWER_STATES, SHUTDOWN, Server
from pilvi.kernel import clock, log
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.program import Program
from pilvi.kernel.workflows.store import Work

# vm_states in which a machine shall be on the host; "building" has its own workflow
_THERE = ("active", "stopped", "paused", "suspended", "rescued", "resized", "shelved", "soft-delete")

_MANY = 200  # hosts whose machines are compared at once


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen on a host.  `before`: servers that have changed since are not judged by it."""

    seen: Sequence[SeenMachine]
    before: float | None = None


def expected_on(tx: Transaction, host: str) -> list[Server]:
    """The servers whose machines shall be on the host, those left out to which something is being done."""
    return tx.all(Server, Server.c.host == host, Server.c.deleted_at.is_(None), Server.c.vm_state.in_(_THERE), Server.c.task_state.is_(None))


def compare(program: Program, host: str, seen: Sequence[SeenMachine], *, arrived: bool) -> None:
    """Hold all machines of a host against the wishes.  When its agent has just arrived, the wishes are made true."""
    _compare(program, {host: Observation(seen=seen)}, arrived=arrived)


def compare_all(program: Program, seen: Mapping[str, Observation]) -> None:
    """Hold all machines of these hosts against the wishes; their agents have been there for a while."""
    hosts = list(seen)
    for start in range(0, len(hosts), _MANY):
        _compare(program, {host: seen[host] for host in hosts[start : start + _MANY]}, arrived=False)


def _compare(program: Program, seen: Mapping[str, Observation], *, arrived: bool) -> None:
    by_id = {(host, one.id): one for host, observation in seen.items() for one in observation.seen}
    c = Server.c
    with program.db.transaction(write=False) as tx:
        rows = tx.rows(
            sa.select(c.host, c.id, c.power, c.vm_state, c.power_state, c.updated_at).where(
                c.host.in_(list(seen)), c.deleted_at.is_(None), c.vm_state.in_(_THERE), c.task_state.is_(None)
            )
        )
    _sweep_strangers(program, by_id.keys() - {(host, server_id) for host, server_id, *_ in rows})
    for host, server_id, power, vm_state, power_state, updated_at in rows:
        before = seen[host].before
        if before is not None and updated_at >= before:
            continue
        found = by_id.get((host, server_id))
        if found is not None and found.power == power and POWER_STATES[found.power] == power_state:
            continue
        by_itself = found is None or found.power in ("shutoff", "crashed")  # as a guest may; nothing else a machine does by itself
        if (arrived or not by_itself) and (found is None or found.power != power):
            program.db.run(lambda tx, one=server_id: _heal(program.system_context(tx), one))
        elif found is not None:
            program.db.run(lambda tx, at=host, one=found: _note(program.system_context(tx), at, one))
        elif vm_state not in ("stopped", "suspended"):
            gone = SeenMachine(id=server_id, power="shutoff")
            program.db.run(lambda tx, at=host, one=gone: _note(program.system_context(tx), at, one))


def _sweep_strangers(program: Program, strangers: Collection[tuple[str, str]]) -> None:
    """Have machines gone from hosts that their servers have left (a host that was down when they were evacuated, and is back)."""
    if not strangers:
        return
    with program.db.transaction(write=False) as tx:
        servers = {one.id: one for one in tx.by(Server, Server.c.id, {server_id for _, server_id in strangers})}
    for host, server_id in strangers:
        server = servers.get(server_id)
        if server is not None and _lives_elsewhere(server, host):
            program.db.run(lambda tx, at=host, one=server_id: _sweep(program.system_context(tx), at, one))


def _lives_elsewhere(server: Server, host: str) -> bool:
    """Whether the server is whole and at rest on another host, and this one has no part in it: only then may anything be removed."""
    at_rest = server.deleted_at is None and server.vm_state in _THERE and server.task_state is None
    return bool(at_rest and server.host and host not in (server.host, server.other_host))


def _sweep(ctx: Context, host: str, server_id: str) -> None:
    from pilvi.compute.workflows.clean_host import CleanHost, subject

    server = ctx.db.get(Server, server_id)
    if server is None or not _lives_elsewhere(server, host):
        return
    works = ctx.program.workflows
    if not works.pending(ctx.db, server_id) and not works.pending(ctx.db, subject(host, server_id)):
        log.info("a machine is on a host that its server has left, and is removed", server=server_id, host=host, lives_on=server.host)
        ctx.start(CleanHost(server=server_id, host=host, ports=[nic.port_id for nic in server.nics]))


def compare_one(program: Program, host: str, seen: SeenMachine) -> None:
    """Hold one machine, which was seen to change, against its wish."""
    program.db.run(lambda tx: _note(program.system_context(tx), host, seen))


def returned(program: Program, tx: Transaction, host: str) -> None:
    """A host that was away is back: what waits for it goes on."""
    tx.update(Work, Work.c.subject.like(f"%@{host}"), wake_at=0.0, woken=Work.c.woken + 1)
    tx.after_commit(program.workflows.alarm)


def _heal(ctx: Context, server_id: str) -> None:
    """Have a workflow make the server's machine what it shall be, unless one is at work on it."""
    from pilvi.compute.workflows.heal_server import HealServer

    if not ctx.program.workflows.pending(ctx.db, server_id):
        log.info("a server's machine is not as it shall be and is healed", server=server_id)
        ctx.start(HealServer(server=server_id))


def _note(ctx: Context, host: str, seen: SeenMachine) -> None:
    """Write what a machine became by itself: a guest that shut down, or died, leaves a server that is off."""
    server = ctx.db.get(Server, seen.id)
    if server is None or server.host != host or server.deleted_at is not None or server.task_state or server.vm_state not in _THERE:
        return
    if ctx.program.workflows.pending(ctx.db, seen.id):
        return
    state = POWER_STATES[seen.power]
    now = clock.now()
    if seen.power in ("shutoff", "crashed") and server.vm_state in ("active", "paused", "rescued") and server.power != "shutoff":
        actions.begin(ctx, server, "stop")
        ctx.db.change(server, vm_state="stopped", power="shutoff", power_state=SHUTDOWN, updated_at=now)
        actions.finish(ctx, server, "compute_stop_instance", "stop")
        log.info("a server's machine went off by itself", server=server.id, seen=seen.power)
    elif state != server.power_state:
        ctx.db.change(server, power_state=state, updated_at=now)
        ctx.publish(
            ServerChanged(server_id=server.id, project_id=server.project_id, what="power", vm_state=server.vm_state, task_state=None)
        )
