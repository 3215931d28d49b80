"""Groups come and go with their volumes and snapshots: these workflows only wait for those."""

from __future__ import annotations

from pilvi.block_storage.tables.groups import Group, GroupSnapshot
from pilvi.block_storage.tables.volumes import Snapshot, Volume
from pilvi.kernel.context import Context
from pilvi.kernel.db import Row, Transaction
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import Wait, Workflow, effect, transaction

_POLL = 0.4


class FillGroup(Workflow):
    """A group that is made from another is available when all its volumes are."""

    group_id: str

    @property
    def subject(self) -> str:
        return self.group_id

    @effect(within=7200, title="The volumes of the group are made")
    def wait(self, ctx: Context) -> None:
        _wait_for(ctx, Volume, Volume.c.group_id == self.group_id)

    @transaction(title="The group is available")
    def announce(self, ctx: Context) -> None:
        ctx.db.update(Group, Group.c.id == self.group_id, status="available")

    def failed(self, ctx: Context, why: str) -> None:
        ctx.db.update(Group, Group.c.id == self.group_id, status="error")


class EmptyGroup(Workflow):
    """A group is forgotten when its volumes are gone."""

    group_id: str

    @property
    def subject(self) -> str:
        return self.group_id

    @effect(within=7200, title="The volumes of the group are removed")
    def wait(self, ctx: Context) -> None:
        _wait_gone(ctx, Volume, Volume.c.group_id == self.group_id)

    @transaction(title="The group is forgotten")
    def forget(self, ctx: Context) -> None:
        ctx.db.delete(Group, Group.c.id == self.group_id)

    def failed(self, ctx: Context, why: str) -> None:
        ctx.db.update(Group, Group.c.id == self.group_id, status="error_deleting")


class FillGroupSnapshot(Workflow):
    """A group's snapshot is available when those of all its volumes are."""

    group_snapshot_id: str

    @property
    def subject(self) -> str:
        return self.group_snapshot_id

    @effect(within=7200, title="The snapshots of the group are made")
    def wait(self, ctx: Context) -> None:
        _wait_for(ctx, Snapshot, Snapshot.c.group_snapshot_id == self.group_snapshot_id)

    @transaction(title="The group's snapshot is available")
    def announce(self, ctx: Context) -> None:
        ctx.db.update(GroupSnapshot, GroupSnapshot.c.id == self.group_snapshot_id, status="available")

    def failed(self, ctx: Context, why: str) -> None:
        ctx.db.update(GroupSnapshot, GroupSnapshot.c.id == self.group_snapshot_id, status="error")


class EmptyGroupSnapshot(Workflow):
    """A group's snapshot is forgotten when those of its volumes are gone."""

    group_snapshot_id: str

    @property
    def subject(self) -> str:
        return self.group_snapshot_id

    @effect(within=7200, title="The snapshots of the group are removed")
    def wait(self, ctx: Context) -> None:
        _wait_gone(ctx, Snapshot, Snapshot.c.group_snapshot_id == self.group_snapshot_id)

    @transaction(title="The group's snapshot is forgotten")
    def forget(self, ctx: Context) -> None:
        ctx.db.delete(GroupSnapshot, GroupSnapshot.c.id == self.group_snapshot_id)

    def failed(self, ctx: Context, why: str) -> None:
        ctx.db.update(GroupSnapshot, GroupSnapshot.c.id == self.group_snapshot_id, status="error_deleting")


def _statuses(ctx: Context, kind: type[Row], where: object) -> list[str]:
    def look(tx: Transaction) -> list[str]:
        return [one.status for one in tx.all(kind, where)]  # type: ignore[attr-defined]

    return ctx.program.db.run(look, write=False)


def _wait_for(ctx: Context, kind: type[Row], where: object) -> None:
    """Return when all are made; HostError when one has failed."""
    statuses = _statuses(ctx, kind, where)
    if "creating" in statuses:
        raise Wait(_POLL)
    if "error" in statuses:
        raise HostError("A member could not be made; its own message tells why.", elsewhere=False)


def _wait_gone(ctx: Context, kind: type[Row], where: object) -> None:
    statuses = _statuses(ctx, kind, where)
    if "error_deleting" in statuses:
        raise HostError("A member could not be removed; its own message tells why.", elsewhere=False)
    if statuses:
        raise Wait(_POLL)
