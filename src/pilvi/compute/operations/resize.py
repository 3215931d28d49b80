"""Resize: another flavor for a server; confirmed or reverted by its owner afterwards."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pilvi.compute.operations import actions, create_checks, quotas
from pilvi.compute.operations.servers import guard, ready
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.migrations import Migration
from pilvi.compute.tables.servers import Server
from pilvi.compute.workflows.resize_server import ConfirmResize, ResizeServer, RevertResize
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NoValidHost
from pilvi.kernel.ids import new_id
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
    if not ctx.program.settings.compute.allow_resize_to_same_host:
        raise NoValidHost("No valid host found for resize: this cloud does not resize servers on the host where they are.")
    quotas.check_servers(
        ctx, server.project_id, instances=0, cores=flavor.vcpus - server.vcpus, ram=flavor.ram - server.memory_mib
    )
    migration = _migration(ctx, server, "resize", flavor.name)
    actions.begin(ctx, server, "resize")
    values: dict[str, Any] = {"disk_config": disk_config} if disk_config else {}
    ctx.db.change(server, task_state="resize_prep", updated_at=clock.now(), **values)
    ctx.start(ResizeServer(server=server.id, flavor=flavor, migration=migration.uuid))


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
    ctx.db.change(migration, status="reverting", updated_at=clock.now())
    actions.begin(ctx, server, "revertResize")
    ctx.db.change(server, task_state="resize_reverting", updated_at=clock.now())
    ctx.start(RevertResize(server=server.id, migration=migration.uuid))


def refuse_move(ctx: Context, server: Server, action: str, host: str = "") -> None:
    """Moves between hosts, where there is no other host to go to."""
    guard(ctx, server, action)
    ready(ctx, server)
    if host:
        if ctx.db.get(ComputeHost, host) is None:
            raise Invalid(f"Compute host {host} could not be found.", field="host")
        if host == server.host:
            raise Invalid(f"The server is on host {host} already.", field="host")
    others = ctx.db.scalar(sa.select(sa.func.count()).select_from(ComputeHost.t).where(ComputeHost.c.host != server.host))
    if others:
        raise NoValidHost("No valid host was found. Servers cannot be moved between hosts in this version; their host stays theirs.")
    raise NoValidHost(f"No valid host was found. {server.host} is the only compute host; join another one, then move the server.")


def confirm_overdue(program: Program) -> None:
    """Confirm the resizes that nobody has spoken about for the configured time."""
    window = program.settings.compute.resize_confirm_window
    if not window:
        return
    with program.db.transaction(write=False) as tx:
        due = tx.all(
            Migration, Migration.c.kind == "resize", Migration.c.status == "finished", Migration.c.updated_at < clock.now() - window
        )
    for migration in due:
        program.db.run(lambda tx, one=migration: _confirm_one(program.system_context(tx), one))


def _confirm_one(ctx: Context, migration: Migration) -> None:
    server = ctx.db.get(Server, migration.server_id)
    if server is not None and server.vm_state == "resized" and server.task_state is None:
        confirm(ctx, server)


def _migration(ctx: Context, server: Server, kind: str, flavor: str) -> Migration:
    now = clock.now()
    host, node = server.host or "", server.node or ""
    return ctx.db.insert(
        Migration(
            uuid=new_id(), server_id=server.id, project_id=server.project_id, user_id=ctx.user_id, kind=kind, status="pre-migrating",
            source_host=host, source_node=node, dest_host=host, dest_node=node, old_flavor=server.flavor.name, new_flavor=flavor,
            created_at=now, updated_at=now,
        )
    )  # fmt: skip


def _finished(ctx: Context, server: Server) -> Migration:
    found = ctx.db.all(
        Migration, Migration.c.server_id == server.id, Migration.c.status == "finished", order=[Migration.c.id.desc()], limit=1
    )
    if not found:
        raise Invalid("Instance has not been resized.")
    return found[0]
