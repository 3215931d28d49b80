"""Healing: hold what hosts report against what shall be; note what changed by itself, mend what is missing."""

from __future__ import annotations

from collections.abc import Sequence

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


def expected_on(tx: Transaction, host: str) -> list[Server]:
    """The servers whose machines shall be on the host, those left out to which something is being done."""
    return tx.all(Server, Server.c.host == host, Server.c.deleted_at.is_(None), Server.c.vm_state.in_(_THERE), Server.c.task_state.is_(None))


def compare(program: Program, host: str, seen: Sequence[SeenMachine], *, arrived: bool) -> None:
    """Hold all machines of a host against the wishes.  When its agent has just arrived, the wishes are made true."""
    by_id = {one.id: one for one in seen}
    with program.db.transaction(write=False) as tx:
        rows = tx.rows(
            sa.select(Server.c.id, Server.c.power, Server.c.vm_state, Server.c.power_state).where(
                Server.c.host == host, Server.c.deleted_at.is_(None), Server.c.vm_state.in_(_THERE), Server.c.task_state.is_(None)
            )
        )
    for server_id, power, vm_state, power_state in rows:
        found = by_id.get(server_id)
        if found is not None and found.power == power and POWER_STATES[found.power] == power_state:
            continue
        by_itself = found is None or found.power in ("shutoff", "crashed")  # as a guest may; nothing else a machine does by itself
        if (arrived or not by_itself) and (found is None or found.power != power):
            program.db.run(lambda tx, one=server_id: _heal(program.system_context(tx), one))
        elif found is not None:
            program.db.run(lambda tx, one=found: _note(program.system_context(tx), host, one))
        elif vm_state not in ("stopped", "suspended"):
            program.db.run(lambda tx, one=server_id: _note(program.system_context(tx), host, SeenMachine(id=one, power="shutoff")))


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
