"""Resize a server on its host: room for the new size beside the old one's, until the change is confirmed or reverted."""

from __future__ import annotations

from typing import ClassVar

from pilvi import network, placement
from pilvi.compute.logic import flavor_specs
from pilvi.compute.operations import volumes
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.migrations import Migration
from pilvi.compute.tables.servers import RUNNING, SHUTDOWN, FlavorCopy, Server
from pilvi.compute.workflows.server_work import ServerWork
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, NoValidHost
from pilvi.kernel.workflows import effect, transaction


class ResizeServer(ServerWork):
    """Claim the new size, restart the machine with it; the server is then in VERIFY_RESIZE."""

    flavor: FlavorCopy
    migration: str  # its uuid, under which the old room is held

    event: ClassVar[str] = "compute_finish_resize"
    what: ClassVar[str] = "resize"

    @transaction
    def claim(self, ctx: Context) -> None:
        """Hold the old room for the migration, and take the new."""
        server = self.load(ctx)
        host = ctx.db.get(ComputeHost, server.host or "")
        placement.move(ctx.db, server.id, self.migration)
        resources = flavor_specs.resources(self.flavor, on_volume=not server.image_id)
        try:
            placement.claim(
                ctx.db, consumer=server.id, provider=host.id if host else "", resources=resources, project_id=server.project_id,
                user_id=server.user_id,
            )  # fmt: skip
        except Conflict as error:
            raise NoValidHost(f"No valid host was found. {server.host}: {error.message}") from None
        new = self.flavor
        ctx.db.change(
            server, task_state="resize_finish", old_flavor=server.flavor, flavor=new, flavor_id=new.flavorid, vcpus=new.vcpus, memory_mib=new.ram,
            updated_at=clock.now(), progress=0,
        )  # fmt: skip
        note_migration(ctx.db, self.migration, "migrating")

    @effect(within=3600)
    def restart(self, ctx: Context) -> None:
        """Start the machine in its new size."""
        ensure_whole(self, ctx)

    @transaction
    def announce(self, ctx: Context) -> None:
        """The server waits for its owner's word."""
        server = self.load(ctx)
        note_migration(ctx.db, self.migration, "finished")
        self.settle(ctx, server, vm_state="resized", power_state=_seen(server), launched_at=clock.now(), progress=100)

    def failed(self, ctx: Context, why: str) -> None:
        """Without room the server stays as it was; once its machine was touched, it is in ERROR in its old size."""
        server = self.load(ctx)
        note_migration(ctx.db, self.migration, "error")
        if server.old_flavor is None:
            self.fall(ctx, why, vm_state="stopped" if server.power == "shutoff" else "active")
            return
        back_to_old(ctx, server, self.migration)
        self.fall(ctx, why)


class ConfirmResize(ServerWork):
    """Give the old size's room back."""

    migration: str

    event: ClassVar[str] = "compute_confirm_resize"
    what: ClassVar[str] = "confirmResize"

    @transaction
    def confirm(self, ctx: Context) -> None:
        server = self.load(ctx)
        placement.release(ctx.db, self.migration)
        note_migration(ctx.db, self.migration, "confirmed")
        off = server.power == "shutoff"
        self.settle(ctx, server, vm_state="stopped" if off else "active", old_flavor=None)

    def failed(self, ctx: Context, why: str) -> None:
        """It waits for its owner's word again."""
        note_migration(ctx.db, self.migration, "finished")
        self.fall(ctx, why, vm_state="resized")


class RevertResize(ServerWork):
    """Go back to the old size."""

    migration: str

    event: ClassVar[str] = "compute_revert_resize"
    what: ClassVar[str] = "revertResize"

    @transaction
    def turn_back(self, ctx: Context) -> None:
        """The old room is the server's again."""
        back_to_old(ctx, self.load(ctx), self.migration)

    @effect(within=3600)
    def restart(self, ctx: Context) -> None:
        """Start the machine in its old size."""
        ensure_whole(self, ctx)

    @transaction
    def announce(self, ctx: Context) -> None:
        """The server is as it was."""
        server = self.load(ctx)
        note_migration(ctx.db, self.migration, "reverted")
        off = server.power == "shutoff"
        self.settle(ctx, server, vm_state="stopped" if off else "active", power_state=_seen(server), launched_at=clock.now())

    def failed(self, ctx: Context, why: str) -> None:
        note_migration(ctx.db, self.migration, "error")
        self.fall(ctx, why)


def ensure_whole(work: ServerWork, ctx: Context) -> None:
    """Connections, ports and machine as the row says, on the server's host."""
    server = work.read(ctx)
    volumes.connect(ctx, server.id, server.host or "")
    if server.nics:
        network.plug(ctx.program, server.id, server.host or "")
    work.until_done(work.agent(ctx, server.host).ensure(server.id, work.job(ctx, "ensure")))


def back_to_old(ctx: Context, server: Server, migration: str) -> None:
    """Write the old size back, in the row and in placement."""
    old = server.old_flavor
    if old is None:
        return
    placement.release(ctx.db, server.id)
    placement.move(ctx.db, migration, server.id)
    ctx.db.change(
        server, flavor=old, flavor_id=old.flavorid, vcpus=old.vcpus, memory_mib=old.ram, old_flavor=None, updated_at=clock.now()
    )


def note_migration(tx: Transaction, migration: str, status: str) -> None:
    """Write how a migration stands."""
    tx.update(Migration, Migration.c.uuid == migration, status=status, updated_at=clock.now())


def _seen(server: Server) -> int:
    return SHUTDOWN if server.power == "shutoff" else RUNNING
