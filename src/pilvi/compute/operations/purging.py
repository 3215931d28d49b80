"""Purging: servers that were deleted softly and whose time is over; rows of those long gone."""

from __future__ import annotations

import sqlalchemy as sa

from pilvi.compute.operations import servers
from pilvi.compute.tables.actions import Action, ActionEvent
from pilvi.compute.tables.consoles import ConsoleToken
from pilvi.compute.tables.drains import DrainedServer
from pilvi.compute.tables.explanations import Explanation
from pilvi.compute.tables.migrations import Migration
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.program import Program

_AT_ONCE = 200  # rows in one commit


def reclaim(program: Program) -> None:
    """Delete for good the servers whose time to be restored is over."""
    interval = program.settings.compute.reclaim_instance_interval
    with program.db.transaction(write=False) as tx:
        due = tx.all(Server, Server.c.vm_state == "soft-delete", Server.c.task_state.is_(None), Server.c.terminated_at < clock.now() - interval)
    for server in due:
        program.db.run(lambda tx, one=server.id: _reclaim_one(program.system_context(tx), one))


def _reclaim_one(ctx: Context, server_id: str) -> None:
    server = ctx.db.get(Server, server_id)
    if server is not None and server.vm_state == "soft-delete" and server.task_state is None:
        servers.delete(ctx, server, force=True)


def purge(program: Program) -> None:
    """Drop the rows of servers that were deleted long ago, and console tokens that open nothing any more."""
    after = program.settings.compute.purge_deleted_after
    program.db.run(lambda tx: tx.delete(ConsoleToken, ConsoleToken.c.expires_at < clock.now()))
    while after and program.db.run(lambda tx: _purge_some(tx, clock.now() - after)) == _AT_ONCE:
        pass


def _purge_some(tx: Transaction, before: float) -> int:
    ids = [row[0] for row in tx.rows(sa.select(Server.c.id).where(Server.c.deleted_at < before).limit(_AT_ONCE))]
    if ids:
        theirs = sa.select(Action.c.id).where(Action.c.server_id.in_(ids))
        tx.delete(ActionEvent, ActionEvent.c.action_id.in_(theirs))
        for kind in (Action, Migration, DrainedServer):
            tx.delete(kind, kind.c.server_id.in_(ids))
        tx.delete(Explanation, Explanation.c.server_id.in_(ids))
        tx.delete(Server, Server.c.id.in_(ids))
    return len(ids)
