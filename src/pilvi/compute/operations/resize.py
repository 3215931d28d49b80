"""Resize: another flavor for a server; confirmed or reverted by its owner afterwards."""

from __future__ import annotations

from typing import Any

from pilvi.compute.logic.moves import Move
from pilvi.compute.operations import actions, create_checks, hosts, moves, quotas
from pilvi.compute.operations.servers import guard, ready
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.migrations import Migration
from pilvi.compute.tables.servers import Server
from pilvi.compute.workflows.confirm_resize import ConfirmResize
from pilvi.compute.workflows.resize_server import ResizeServer
from pilvi.compute.workflows.revert_resize import RevertResize
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid
from pilvi.kernel.program import Program


def resize(ctx: Context, server: Server, flavor_ref: str, disk_config: str | None) -> None:
    """Ask for another flavor."""
    guard(ctx, server, "resize")
    ready(ctx, server)
    flavor = create_checks.find_flavor(ctx, flavor_ref)
    if flavor is None:
        raise Invalid(f"Unable to locate requested flavor: Flavor {flavor_ref} could not be found.", field="flavorRef")
    if flavor.flavorid == server.flavor.flavorid:
        raise Invalid("When resizing, instances must change flavor!", field="flavorRef")
    if server.image_id and flavor.disk < server.flavor.disk:
        reason = "Resize to zero disk flavor is not allowed." if not flavor.disk else "Resize to a smaller disk is not possible."
        raise Invalid(reason, field="flavorRef")
    if flavor.ram < server.image.min_ram:
        raise Invalid("Flavor's memory is too small for requested image.", field="flavorRef")
    quotas.check_servers(
        ctx, server.project_id, instances=0, cores=flavor.vcpus - server.vcpus, ram=flavor.ram - server.memory_mib
    )
    move = Move(kind="resize", leave=server.host or "")
    moves.check(ctx, server, move, flavor)
    migration = moves.begin(ctx, server, move, "pre-migrating", flavor)
    actions.begin(ctx, server, "resize")
    values: dict[str, Any] = {"disk_config": disk_config} if disk_config else {}
    ctx.db.change(server, task_state="resize_prep", updated_at=clock.now(), **values)
    ctx.start(ResizeServer(server=server.id, flavor=flavor, migration=migration.uuid, move=move))


def confirm(ctx: Context, server: Server) -> None:
    """The new size is good: give the old one's room back."""
    guard(ctx, server, "confirmResize")
    migration = _finished(ctx, server)
    ctx.db.change(migration, status="confirming", updated_at=clock.now())
    actions.begin(ctx, server, "confirmResize")
    ctx.start(ConfirmResize(server=server.id, migration=migration.uuid))


def revert(ctx: Context, server: Server) -> None:
    """Back to the old size."""
    guard(ctx, server, "revertResize")
    migration = _finished(ctx, server)
    back = ctx.db.get(ComputeHost, server.other_host) if server.other_host else None
    if server.other_host and (back is None or not hosts.is_up(ctx, back)):
        raise Conflict(f"Instance {server.id} cannot be reverted: host {server.other_host}, to which it would go back, is down.")
    ctx.db.change(migration, status="reverting", updated_at=clock.now())
    actions.begin(ctx, server, "revertResize")
    ctx.db.change(server, task_state="resize_reverting", updated_at=clock.now())
    ctx.start(RevertResize(server=server.id, migration=migration.uuid))


def confirm_overdue(program: Program) -> None:
    """Confirm the resizes and moves that nobody has spoken about for the configured time."""
    window = program.settings.compute.resize_confirm_window
    if not window:
        return
    with program.db.transaction(write=False) as tx:
        due = tx.all(
            Migration, Migration.c.kind.in_(("resize", "migration")), Migration.c.status == "finished", Migration.c.updated_at < clock.now() - window
        )
    for migration in due:
        program.db.run(lambda tx, one=migration: _confirm_one(program.system_context(tx), one))


def _confirm_one(ctx: Context, migration: Migration) -> None:
    server = ctx.db.get(Server, migration.server_id)
    if server is not None and server.vm_state == "resized" and server.task_state is None:
        confirm(ctx, server)


def _finished(ctx: Context, server: Server) -> Migration:
    found = ctx.db.all(
        Migration, Migration.c.server_id == server.id, Migration.c.status == "finished", order=[Migration.c.id.desc()], limit=1
    )
    if not found:
        raise Invalid("Instance has not been resized.")
    return found[0]
