"""Moves: take a server to another host, off or running, or bring it up elsewhere because its own host is down.

Each says before anything starts why it cannot be: of a host that was named all that speaks against it, else the
scheduler's reasons host by host.
"""

from __future__ import annotations

from typing import Any

from pilvi.compute import scheduler
from pilvi.compute.logic import explain
from pilvi.compute.logic.moves import Kind, Move
from pilvi.compute.operations import actions, hosts
from pilvi.compute.operations.servers import guard, ready
from pilvi.compute.tables.explanations import Verdict
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.migrations import ENDED, Migration
from pilvi.compute.tables.servers import FlavorCopy, Server
from pilvi.compute.workflows.confirm_resize import confirmed
from pilvi.compute.workflows.evacuate_server import EvacuateServer
from pilvi.compute.workflows.live_migrate import LiveMigrate
from pilvi.compute.workflows.resize_server import ResizeServer
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound, NoValidHost
from pilvi.kernel.ids import new_id

GOING = ("queued", "preparing", "running", "post-migrating")  # statuses of a live migration under way


def migrate(ctx: Context, server: Server, host: str = "", *, confirm: bool = False) -> Migration:
    """Move a server while it is off (a running one is shut down first); its owner confirms it, or reverts it.

    With `confirm` nobody is asked.
    """
    guard(ctx, server, "migrate")
    ready(ctx, server)
    move = Move(kind="migration", leave=server.host or "", only=_named(ctx, server, host))
    check(ctx, server, move)
    row = begin(ctx, server, move, "pre-migrating")
    actions.begin(ctx, server, "migrate")
    ctx.db.change(server, task_state="resize_prep", updated_at=clock.now())
    ctx.start(ResizeServer(server=server.id, flavor=server.flavor, migration=row.uuid, move=move, confirm=confirm))
    return row


def migrate_live(
    ctx: Context, server: Server, host: str = "", *, block_migration: bool | None = None, over_commit: bool = False, force: bool = False
) -> Migration:
    """Move a server while it runs.  `block_migration`: whether its local disks are to be copied, or shared; None: as it is."""
    guard(ctx, server, "os-migrateLive")
    ready(ctx, server)
    if force and not host:
        raise Invalid("Can't force to a non-provided destination", field="force")
    disks = "any" if block_migration is None else "copied" if block_migration else "shared"
    move = Move(kind="live-migration", leave=server.host or "", only=_named(ctx, server, host), force=force, over_commit=over_commit, disks=disks)
    check(ctx, server, move)
    row = begin(ctx, server, move, "queued")
    actions.begin(ctx, server, "live-migration")
    ctx.db.change(server, task_state="migrating", updated_at=clock.now())
    ctx.start(LiveMigrate(server=server.id, migration=row.uuid, move=move))
    return row


def evacuate(ctx: Context, server: Server, host: str = "", *, password: str = "", stopped: bool = False, force: bool = False) -> Migration:
    """Bring up on another host a server whose own host is down; `stopped`: it is not started there."""
    guard(ctx, server, "evacuate")
    ready(ctx, server)
    own = ctx.db.get(ComputeHost, server.host or "")
    if host and ctx.db.get(ComputeHost, host) is None:
        raise NotFound(f"Compute host {host} could not be found.")
    if host and host == server.host:
        raise Invalid("The target host can't be the same one.", field="host")
    if own is not None and hosts.is_up(ctx, own):
        raise Invalid(f"Compute service of {server.host} is still in use: evacuate moves servers only from hosts that are down or forced down.")
    if force and not host:
        raise Invalid("Can't force to a non-provided destination", field="force")
    move = Move(kind="evacuation", leave=server.host or "", only=host, force=force)
    check(ctx, server, move)
    if server.old_flavor is not None:  # it fell into ERROR while it waited for its owner's word
        for one in ctx.db.all(Migration, Migration.c.server_id == server.id, Migration.c.status == "finished"):
            confirmed(ctx, server, one.uuid)
    row = begin(ctx, server, move, "accepted")
    actions.begin(ctx, server, "evacuate")
    secrets: dict[str, Any] = {"secrets": {**server.secrets, "admin_password": password}} if password else {}
    ctx.start(EvacuateServer(server=server.id, migration=row.uuid, move=move, off=stopped or server.vm_state == "stopped"))
    server = ctx.db.get(Server, server.id) or server  # what it took the place of has given back
    ctx.db.change(server, task_state="rebuilding", updated_at=clock.now(), **secrets)
    return row


def _named(ctx: Context, server: Server, host: str) -> str:
    """The host that was named, if it is one to which the server could go."""
    if host and ctx.db.get(ComputeHost, host) is None:
        raise Invalid(f"Compute host {host} could not be found.", field="host")
    if host and host == server.host:
        raise Invalid(f"The server is on host {host} already.", field="host")
    return host


# -- why, and why not ------------------------------------------------------------------------------


def check(ctx: Context, server: Server, move: Move, flavor: FlavorCopy | None = None) -> None:
    """Raise Invalid (of a host that was named) or NoValidHost, with the reasons, when the server cannot be moved so."""
    verdicts = scheduler.consider(ctx.program, ctx.db, server, move, flavor)
    if any(not one.filter for one in verdicts):
        return
    if move.only:
        told = "; ".join(one.sentence for one in verdicts) or "its agent has never reported"
        raise Invalid(f"Server {server.id} cannot go to host {move.only}: {told}.", field="host")
    if {host for one in verdicts for host in (one.host, *one.also)} == {server.host} and move.kind != "resize":
        raise NoValidHost(f"No valid host was found. {server.host} is the only compute host; join another one, then move the server.")
    raise NoValidHost(explain.summary(verdicts))


def kind_for(server: Server) -> Kind:
    """How the server would leave its host: running, or off."""
    return "live-migration" if server.vm_state in ("active", "paused") else "migration"


def verdicts(ctx: Context, server: Server, kind: Kind | None = None) -> list[Verdict]:
    """For each host whether the server could move there now, and why not."""
    return scheduler.consider(ctx.program, ctx.db, server, Move(kind=kind or kind_for(server), leave=server.host or ""))


# -- migrations ------------------------------------------------------------------------------------


def begin(ctx: Context, server: Server, move: Move, status: str, flavor: FlavorCopy | None = None) -> Migration:
    """Note the move; a host that was named is told from the first moment."""
    now = clock.now()
    named = ctx.db.get(ComputeHost, move.only) if move.only else None
    return ctx.db.insert(
        Migration(
            uuid=new_id(), server_id=server.id, project_id=server.project_id, user_id=ctx.user_id, kind=move.kind, status=status,
            source_host=server.host or "", source_node=server.node or "", dest_host=move.only,
            dest_node=named.facts.hostname if named else "", dest_address=named.facts.address if named else "",
            old_flavor=server.flavor.name, new_flavor=(flavor or server.flavor).name, created_at=now, updated_at=now,
        )
    )  # fmt: skip


def going(ctx: Context, server: Server) -> list[Migration]:
    """The server's live migrations under way."""
    where = (Migration.c.server_id == server.id, Migration.c.kind == "live-migration", Migration.c.status.in_(GOING))
    return ctx.db.all(Migration, *where, order=[Migration.c.id])


def find(ctx: Context, server: Server, ref: str) -> Migration:
    """One of the server's migrations under way, by its number; raises NotFound."""
    found = ctx.db.one(Migration, Migration.c.server_id == server.id, Migration.c.id == int(ref)) if ref.isdecimal() and len(ref) < 16 else None
    if found is None:
        raise NotFound(f"Migration {ref[:40]} for server {server.id} could not be found.")
    return found


def live(ctx: Context, server: Server, ref: str) -> Migration:
    """One of the server's live migrations under way; raises NotFound."""
    found = find(ctx, server, ref)
    if found.kind != "live-migration" or found.status not in GOING:
        raise NotFound(f"Migration {ref[:40]} for server {server.id} is not an in-progress live migration.")
    return found


def abort(ctx: Context, server: Server, migration: Migration, *, early: bool) -> None:
    """Have a live migration end, and the server stay; `early`: also one that does not copy yet."""
    _check_live(server, migration, ("running", "queued", "preparing") if early else ("running",), "abort")
    actions.begin(ctx, server, "live_migration_cancel")
    ctx.db.change(migration, wish="abort", updated_at=clock.now())
    ctx.program.workflows.wake(ctx.db, server.id)
    actions.finish(ctx, server, "compute_live_migration_abort", "live_migration_cancel")


def force_complete(ctx: Context, server: Server, migration: Migration) -> None:
    """Have a live migration end soon, however long the guest must stand still for it."""
    _check_live(server, migration, ("running",), "force_complete")
    actions.begin(ctx, server, "live_migration_force_complete")
    ctx.db.change(migration, wish="force", updated_at=clock.now())
    ctx.program.workflows.wake(ctx.db, server.id)
    actions.finish(ctx, server, "compute_live_migration_force_complete", "live_migration_force_complete")


def _check_live(server: Server, migration: Migration, statuses: tuple[str, ...], action: str) -> None:
    if migration.kind != "live-migration" or migration.status in ENDED:
        raise NotFound(f"Migration {migration.id} for server {server.id} is not in progress.")
    if migration.status not in statuses:
        raise Invalid(
            f"Migration {migration.id} state of instance {server.id} is {migration.status}. Cannot {action} while the migration is in this state."
        )
