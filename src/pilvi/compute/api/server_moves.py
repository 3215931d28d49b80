"""/servers/{id}/action: migrate, os-migrateLive, evacuate; and /servers/{id}/migrations, what is under way of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilvi.compute.api.create_shapes import Password
from pilvi.compute.operations import moves
from pilvi.compute.operations.create import new_password
from pilvi.compute.operations.create_checks import flag
from pilvi.compute.operations.servers import find
from pilvi.compute.policy import admin, manager
from pilvi.compute.tables.migrations import Migration
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid
from pilvi.kernel.http import Body, Listing, Resource, View, since, until, wire
from pilvi.kernel.http.versions import Version

actions = Resource("/v2.1/servers", tag="servers")
migrations = Resource("/v2.1/servers/{server_id}/migrations", tag="migrations", since="2.22")
OF = "server_id"

MIGRATE = manager("os-migrate-server:migrate", "Move a server to another host.")
MIGRATE_TO = admin("os-migrate-server:migrate:host", "Move a server to a host that one names.")
MIGRATE_LIVE = manager("os-migrate-server:migrate_live", "Move a running server to another host.")
MIGRATE_LIVE_TO = admin("os-migrate-server:migrate_live:host", "Move a running server to a host that one names.")
EVACUATE = admin("os-evacuate", "Bring up a server of a host that is down on another.")
INDEX = manager("servers:migrations:index", "List a server's live migrations under way.")
INDEX_HOSTS = admin("servers:migrations:index:host", "See from where to where a server's live migrations go.")
SHOW = admin("servers:migrations:show", "Show a live migration under way.")
FORCE = manager("servers:migrations:force_complete", "Have a live migration end soon.")
ABORT = manager("servers:migrations:delete", "Abort a live migration.")
OTHERS = [MIGRATE_TO, MIGRATE_LIVE_TO, INDEX_HOSTS]

_V2_14, _V2_25, _V2_65, _V2_95 = (Version(2, minor) for minor in (14, 25, 65, 95))
HostName = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9._-]*$")]


class Migrate(Body):
    """Where to, if one names it."""

    host: HostName | None = since("2.56", default=None)


class MigrateLive(Body):
    """Where to, and how disks that lie on the host are treated."""

    host: HostName | None
    block_migration: bool | str
    disk_over_commit: bool | str = wire(default=False, until="2.24")
    force: bool | str = since("2.30", until="2.67", default=False)


class Evacuate(Body):
    """Where to, if one names it."""

    host: HostName | None = None
    shared_storage: bool | str | None = until("2.13", name="onSharedStorage", default=None)
    password: Password | None = wire("adminPass", default=None)
    force: bool | str = since("2.29", until="2.67", default=False)


class LiveMigrationView(View):
    """A live migration under way.  Bytes."""

    id: int
    status: Literal["queued", "preparing", "running", "post-migrating"]
    server_uuid: str
    source_compute: str | None
    source_node: str | None
    dest_compute: str | None
    dest_node: str | None
    dest_host: str | None
    memory_total_bytes: int
    memory_processed_bytes: int
    memory_remaining_bytes: int
    disk_total_bytes: int
    disk_processed_bytes: int
    disk_remaining_bytes: int
    created_at: str
    updated_at: str
    uuid: str = since("2.59")
    user_id: str = since("2.80")
    project_id: str = since("2.80")


@actions.action("migrate", of=OF, rule=MIGRATE, answers=202)
def migrate(ctx: Context, server_id: str, body: Migrate | None) -> None:
    """Move a server to another host, shut down meanwhile; it waits there in VERIFY_RESIZE for its owner's word."""
    server = find(ctx, server_id)
    host = (body.host if body else None) or ""
    if host:
        ctx.allow(MIGRATE_TO.name, _target(server))
    moves.migrate(ctx, server, host)


@actions.action("os-migrateLive", of=OF, rule=MIGRATE_LIVE, answers=202)
def migrate_live(ctx: Context, server_id: str, body: MigrateLive) -> None:
    """Move a running server to another host."""
    server = find(ctx, server_id)
    if body.host:
        ctx.allow(MIGRATE_LIVE_TO.name, _target(server))
    automatic = ctx.version is not None and ctx.version >= _V2_25 and body.block_migration == "auto"
    block = None if automatic else flag(body.block_migration, "block_migration")
    over_commit, force = flag(body.disk_over_commit, "disk_over_commit"), flag(body.force, "force")
    moves.migrate_live(ctx, server, body.host or "", block_migration=block, over_commit=over_commit, force=force)


@actions.action("evacuate", of=OF, rule=EVACUATE, answers=200)
def evacuate(ctx: Context, server_id: str, body: Evacuate) -> dict[str, str] | None:
    """Bring up on another host a server whose own is down; since 2.95 it is not started there."""
    server = find(ctx, server_id)
    version = ctx.version or Version(2, 1)
    shared = flag(body.shared_storage, "onSharedStorage")
    if version < _V2_14 and body.shared_storage is None:
        raise Invalid("Invalid input for field onSharedStorage: it is required.", field="onSharedStorage")
    if shared and body.password:
        raise Invalid("admin password can't be changed on existing disk", field="adminPass")
    password = body.password or ("" if shared else new_password(ctx))
    force = flag(body.force, "force")
    moves.evacuate(ctx, server, body.host or "", password=password, stopped=version >= _V2_95, force=force)
    if version >= _V2_14:
        return None
    return {"adminPass": password} if password else {}


def _target(server: Server) -> dict[str, Any]:
    return {"project_id": server.project_id, "user_id": server.user_id}


# -- what is under way -----------------------------------------------------------------------------


def _view(one: Migration, *, hosts: bool) -> LiveMigrationView:
    return LiveMigrationView(
        id=one.id, status=one.status, server_uuid=one.server_id, uuid=one.uuid, user_id=one.user_id, project_id=one.project_id,  # type: ignore[arg-type]
        source_compute=one.source_host if hosts else None, source_node=one.source_node if hosts else None,
        dest_compute=one.dest_host if hosts else None, dest_node=one.dest_node if hosts else None, dest_host=one.dest_address if hosts else None,
        memory_total_bytes=one.memory_total, memory_processed_bytes=one.memory_done, memory_remaining_bytes=one.memory_left,
        disk_total_bytes=one.disk_total, disk_processed_bytes=one.disk_done, disk_remaining_bytes=one.disk_left,
        created_at=clock.iso_micro(one.created_at), updated_at=clock.iso_micro(one.updated_at),
    )  # fmt: skip


@migrations.get("", rule=INDEX, out="migrations", since="2.23")
def index(ctx: Context, server_id: str) -> Listing:
    """List a server's live migrations under way."""
    server = find(ctx, server_id)
    hosts = ctx.allowed(INDEX_HOSTS.name, _target(server))
    return Listing([_view(one, hosts=hosts) for one in moves.going(ctx, server)])


@migrations.get("/{migration_id}", rule=SHOW, out="migration", since="2.23")
def show(ctx: Context, server_id: str, migration_id: str) -> LiveMigrationView:
    """Show a live migration under way."""
    return _view(moves.live(ctx, find(ctx, server_id), migration_id), hosts=True)


@migrations.action("force_complete", "/{migration_id}/action", rule=FORCE, answers=202)
def force_complete(ctx: Context, server_id: str, migration_id: str, body: Any) -> None:
    """Have a live migration end soon."""
    server = _unlocked(ctx, server_id)
    moves.force_complete(ctx, server, moves.find(ctx, server, migration_id))


@migrations.delete("/{migration_id}", rule=ABORT, answers=202, since="2.24")
def abort(ctx: Context, server_id: str, migration_id: str) -> None:
    """Abort a live migration; the server stays where it is."""
    server = _unlocked(ctx, server_id)
    early = ctx.version is not None and ctx.version >= _V2_65
    moves.abort(ctx, server, moves.find(ctx, server, migration_id), early=early)


def _unlocked(ctx: Context, server_id: str) -> Server:
    """The server, of which a live migration is under way."""
    server = find(ctx, server_id)
    if server.locked_by and not ctx.is_admin:
        raise Conflict(f"Instance {server.id} is locked")
    if server.task_state != "migrating":
        raise Conflict(f"Cannot change a live migration of instance {server.id} while it is in task_state {server.task_state}")
    return server
