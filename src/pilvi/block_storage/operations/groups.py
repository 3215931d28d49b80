"""Groups: made, filled, copied, snapshot and deleted."""

from __future__ import annotations

from pilvi.block_storage.errors import too_many, wrong_state
from pilvi.block_storage.operations import quotas, snapshots, types, volumes
from pilvi.block_storage.tables.groups import Group, GroupSnapshot, GroupType
from pilvi.block_storage.tables.volumes import Snapshot, Volume
from pilvi.block_storage.workflows.delete_volume import DeleteVolume
from pilvi.block_storage.workflows.groups import EmptyGroup, EmptyGroupSnapshot, FillGroup, FillGroupSnapshot
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.ids import new_id
from pilvi.kernel.quota import UNLIMITED


def group_type(ctx: Context, ref: str) -> GroupType:
    """The group type of that id or name; private ones are for administrators."""
    kind = ctx.db.get(GroupType, ref) or ctx.db.one(GroupType, GroupType.c.name == ref)
    if kind is None or not (kind.is_public or ctx.is_admin):
        raise NotFound(f"Group type {ref} could not be found.")
    return kind


def members(ctx: Context, group_id: str) -> list[Volume]:
    """The group's volumes, oldest first."""
    return ctx.db.all(Volume, Volume.c.group_id == group_id, order=[Volume.c.created_at])


def create(
    ctx: Context, *, name: str | None, description: str | None, kind: GroupType, volume_type_ids: list[str], zone: str | None,
    status: str = "available", snapshot_id: str | None = None, source_id: str | None = None,
) -> Group:  # fmt: skip
    """An empty group; it has nothing in the world, so it is available at once."""
    if not ctx.db.hold(GroupType, kind.id):
        raise NotFound(f"Group type {kind.id} could not be found.")
    limits = quotas.quotas(ctx.program)
    limits.turn(ctx.db, ctx.project_id)
    most, have = limits.limits(ctx.db, ctx.project_id)["groups"], ctx.db.count(Group, Group.c.project_id == ctx.project_id)
    if most != UNLIMITED and have + 1 > most:
        raise too_many("groups", most, have)
    row = Group(
        id=new_id(), project_id=ctx.project_id, user_id=ctx.user_id, name=name, description=description, group_type_id=kind.id,
        volume_type_ids=volume_type_ids, status=status, availability_zone=volumes.checked_zone(ctx, zone, ""),
        group_snapshot_id=snapshot_id, source_group_id=source_id, created_at=clock.now(),
    )  # fmt: skip
    return ctx.db.insert(row)


def create_from(ctx: Context, *, name: str | None, description: str | None, snapshot: GroupSnapshot | None, source: Group | None) -> Group:
    """A group whose volumes are copies of another's, or of a snapshot's."""
    origin = source or ctx.db.get(Group, snapshot.group_id if snapshot else "")
    if origin is None:
        raise NotFound("The group of the snapshot is gone.")
    kind = group_type(ctx.system(), origin.group_type_id)
    taken = ctx.db.all(Snapshot, Snapshot.c.group_snapshot_id == snapshot.id) if snapshot else []
    originals = members(ctx, origin.id) if source else []
    if not taken and not originals:
        raise Invalid("The group, or its snapshot, is empty: there is nothing to make a group from.")
    made = create(
        ctx, name=name, description=description, kind=kind, volume_type_ids=origin.volume_type_ids, zone=None, status="creating",
        snapshot_id=snapshot.id if snapshot else None, source_id=source.id if source else None,
    )  # fmt: skip
    wanted = [volumes.NewVolume(snapshot_id=one.id, name=one.name) for one in taken]
    wanted += [volumes.NewVolume(source_volid=one.id, name=one.name) for one in originals]
    for new in wanted:
        ctx.db.change(volumes.create(ctx, new), group_id=made.id)
    ctx.start(FillGroup(group_id=made.id))
    return made


def check_joins(group: Group, volume_type_id: str | None) -> None:
    """Raise Invalid when volumes of the type cannot be in the group."""
    if group.status != "available":
        raise wrong_state("changed", "Group", group.id, group.status, "available")
    if volume_type_id not in group.volume_type_ids:
        raise Invalid(f"Volume type {volume_type_id} is not among those of group {group.id}.")


def change_members(ctx: Context, group: Group, add: list[str], remove: list[str]) -> None:
    """Take volumes into the group, which is locked, and out of it."""
    if group.status != "available":
        raise wrong_state("changed", "Group", group.id, group.status, "available")
    for ref in add:
        volume = ctx.see(ctx.db.get_to_change(Volume, ref), "Volume", ref)
        if volume.status not in ("available", "in-use") or volume.group_id is not None:
            raise Invalid(f"Cannot add volume {volume.id} to group {group.id}: it is {volume.status}, or in a group already.")
        check_joins(group, volume.volume_type_id)
        ctx.db.change(volume, group_id=group.id, updated_at=clock.now())
    for ref in remove:
        volume = ctx.db.get_to_change(Volume, ref)
        if volume is None or volume.group_id != group.id:
            raise Invalid(f"Cannot remove volume {ref} from group {group.id}: it is not in the group.")
        if volume.status not in ("available", "in-use", "error"):
            raise wrong_state("taken out of its group", "Volume", volume.id, volume.status, "available or in-use")
        ctx.db.change(volume, group_id=None, updated_at=clock.now())


def delete(ctx: Context, group: Group, *, with_volumes: bool) -> None:
    """Have the group gone, which is locked, with its volumes if that is said."""
    if group.status not in ("available", "error", "error_deleting", "deleting"):
        raise wrong_state("deleted", "Group", group.id, group.status, "available or error")
    if ctx.db.count(GroupSnapshot, GroupSnapshot.c.group_id == group.id):
        raise Invalid(f"Invalid group: Group {group.id} still has group snapshots; delete them first.")
    rows = ctx.db.lock_all(Volume, Volume.c.group_id == group.id)
    if rows and not with_volumes:
        raise Invalid(f"Invalid group: Group {group.id} still contains volumes; the delete-volumes flag is required to delete it.")
    for volume in rows:
        if volume.attach_status != "detached" or ctx.db.count(Snapshot, Snapshot.c.volume_id == volume.id):
            raise Invalid(f"Invalid group: volume {volume.id} of group {group.id} is attached, or has snapshots.")
        ctx.db.change(volume, status="deleting", updated_at=clock.now())
        ctx.start(DeleteVolume(volume_id=volume.id))
    ctx.db.change(group, status="deleting")
    ctx.start(EmptyGroup(group_id=group.id))


def snapshot(ctx: Context, group: Group, *, name: str | None, description: str | None) -> GroupSnapshot:
    """Snapshots of all volumes of the group, which is locked, one after the other."""
    rows = ctx.db.lock_all(Volume, Volume.c.group_id == group.id)
    if not rows:
        raise Invalid(f"Invalid group: Group {group.id} is empty: no group snapshot will be created.")
    if group.status != "available":
        raise wrong_state("snapshot", "Group", group.id, group.status, "available")
    made = ctx.db.insert(
        GroupSnapshot(
            id=new_id(), project_id=group.project_id, user_id=ctx.user_id, group_id=group.id, group_type_id=group.group_type_id, name=name,
            description=description, created_at=clock.now(),
        )
    )  # fmt: skip
    for volume in rows:
        one = snapshots.create(ctx, volume, name=name, description=description, metadata={}, force=True)
        ctx.db.change(one, group_snapshot_id=made.id)
    ctx.start(FillGroupSnapshot(group_snapshot_id=made.id))
    return made


def delete_snapshot(ctx: Context, row: GroupSnapshot) -> None:
    """Have the group's snapshot gone, which is locked, and those of its volumes."""
    if row.status not in ("available", "error", "error_deleting", "deleting"):
        raise wrong_state("deleted", "Group snapshot", row.id, row.status, "available or error")
    if ctx.db.count(Group, Group.c.group_snapshot_id == row.id, Group.c.status == "creating"):
        raise Invalid(f"Invalid group snapshot: a group is being made from {row.id}.")
    for one in ctx.db.all(Snapshot, Snapshot.c.group_snapshot_id == row.id):
        snapshots.delete(ctx, one, force=True)
    ctx.db.change(row, status="deleting")
    ctx.start(EmptyGroupSnapshot(group_snapshot_id=row.id))


def known_types(ctx: Context, refs: list[str]) -> list[str]:
    """The ids of the volume types that a group is to hold."""
    if not refs:
        raise Invalid("volume_types must be provided to create a group.", field="volume_types")
    return [types.visible(ctx, ref).id for ref in refs]
