"""Drain a host: it takes no new servers, and those that it has move to others, a few at a time."""

from __future__ import annotations

import msgspec

from pilvi.compute.logic import states
from pilvi.compute.operations import moves
from pilvi.compute.tables.drains import Drain, DrainedServer
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.migrations import ENDED, Migration
from pilvi.compute.tables.servers import Server
from pilvi.compute.workflows.drain_host import DrainHost, subject
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import NotFound, PilviError

REASON = "being drained"
_ARRIVED = ("completed", "confirmed", "done")
_WHY = {
    "suspended": "it is suspended: its memory lies on this host; resume it",
    "rescued": "it is in rescue; unrescue it",
    "error": "it is in ERROR; mend or delete it",
    "shelved": "it is shelved; shelve-offload it",
    "resized": "it waits for its owner to confirm or revert a resize",
    "soft-delete": "it is deleted, and can be restored for a while",
}


class Draining(msgspec.Struct, frozen=True, kw_only=True):
    """How far the emptying of a host is for one server.  `state`: waits, going, gone, stays."""

    server_id: str
    name: str
    status: str
    state: str
    to: str = ""
    why: str = ""


def drain(ctx: Context, host: str, reason: str = REASON) -> None:
    """Let the host take no new servers, and move those that it has; said again, what could not be moved is tried again.

    Raises NotFound.  Volumes that lie on the host are not moved: servers that others cannot give them to stay, and say so.
    """
    row = ctx.db.get(ComputeHost, host)
    if row is None:
        raise NotFound(f"Compute host {host} could not be found.")
    if not row.disabled:
        ctx.db.change(row, disabled=True, disabled_reason=reason, updated_at=clock.now(), version=row.version + 1)
    ctx.db.put(Drain(host=host, started_at=clock.now()))
    ctx.db.delete(DrainedServer, DrainedServer.c.host == host, DrainedServer.c.state != "going")
    if not ctx.program.workflows.pending(ctx.db, subject(host)):
        ctx.start(DrainHost(host=host))


def draining(tx: Transaction, host: str) -> list[Draining]:
    """How it stands with each server that is on the host, or was when its emptying began."""
    known = {one.server_id: one for one in tx.all(DrainedServer, DrainedServer.c.host == host)}
    here = {one.id: one for one in tx.all(Server, Server.c.host == host, Server.c.deleted_at.is_(None))}
    there = {one.id: one for one in tx.by(Server, Server.c.id, known.keys() - here.keys(), Server.c.deleted_at.is_(None))}
    begun = tx.get(Drain, host) is not None
    moves_ = {one.uuid: one for one in tx.by(Migration, Migration.c.uuid, [one.migration for one in known.values() if one.migration])}
    found = []
    for server in sorted([*here.values(), *there.values()], key=lambda one: (one.name, one.id)):
        noted, migration = known.get(server.id), None
        if noted is not None:
            migration = moves_.get(noted.migration)
        state = noted.state if noted is not None else "waits" if begun else "stays"
        found.append(
            Draining(
                server_id=server.id, name=server.name, status=states.status(server.vm_state, server.task_state), state=state,
                to=migration.dest_host if migration is not None and state != "stays" else "", why=noted.sentence if noted is not None else "",
            )
        )  # fmt: skip
    return found


def move_on(ctx: Context, host: str) -> bool:
    """Begin as many moves as may be under way; whether anything is under way or waits for its turn."""
    row = ctx.db.get(ComputeHost, host)
    if row is None or not row.disabled:  # an operator has changed their mind
        return False
    known = {one.server_id: one for one in ctx.db.all(DrainedServer, DrainedServer.c.host == host)}
    going = sum(_look(ctx, one) for one in known.values() if one.state == "going")
    most = ctx.program.settings.compute.drain_at_once
    waits = False
    servers = ctx.db.all(Server, Server.c.host == host, Server.c.deleted_at.is_(None), order=[Server.c.created_at, Server.c.id])
    for server in servers:
        if server.id in known:
            continue
        if going >= most or ctx.program.workflows.pending(ctx.db, server.id):
            waits = True
            continue
        if _begin(ctx, server, host):
            going += 1
    return waits or going > 0


def _look(ctx: Context, noted: DrainedServer) -> bool:
    """Whether the server is still on its way; what became of it is noted."""
    migration = ctx.db.one(Migration, Migration.c.uuid == noted.migration)
    if migration is None or ctx.db.count(Server, Server.c.id == noted.server_id, Server.c.deleted_at.is_(None)) == 0:
        ctx.db.remove(noted)
        return False
    if migration.status not in ENDED:
        return True
    arrived = migration.status in _ARRIVED
    ctx.db.change(noted, state="gone" if arrived else "stays", sentence="" if arrived else migration.message or "", updated_at=clock.now())
    return False


def _begin(ctx: Context, server: Server, host: str) -> bool:
    """Begin the server's move, or note why it stays; whether it goes."""
    try:
        if server.vm_state in _WHY:
            raise PilviError(_WHY[server.vm_state])
        with ctx.db.attempt():
            off = server.vm_state == "stopped"
            migration = moves.migrate(ctx, server, confirm=True) if off else moves.migrate_live(ctx, server)
    except PilviError as error:
        ctx.db.put(DrainedServer(host=host, server_id=server.id, state="stays", sentence=error.message, updated_at=clock.now()))
        return False
    ctx.db.put(DrainedServer(host=host, server_id=server.id, state="going", migration=migration.uuid, updated_at=clock.now()))
    return True


def ended(ctx: Context, host: str) -> None:
    """Nothing more is left that could be moved."""
    row = ctx.db.get(Drain, host)
    if row is not None:
        ctx.db.change(row, ended_at=clock.now())
