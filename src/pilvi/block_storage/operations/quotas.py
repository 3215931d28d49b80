"""Quotas of block storage: limits held against the rows that are there."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from pilvi.block_storage.errors import too_many, too_much
from pilvi.block_storage.tables.types import VolumeType
from pilvi.block_storage.tables.volumes import Backup, Snapshot, Volume
from pilvi.kernel.context import Context
from pilvi.kernel.db import Row, Transaction
from pilvi.kernel.program import Program
from pilvi.kernel.quota import UNLIMITED, Quotas

PER_TYPE = ("volumes", "gigabytes", "snapshots")  # counted for each type, too: gigabytes_NAME


def quotas(program: Program) -> Quotas:
    """Block storage's limits, as configured."""
    found = program.parts.get("block_storage.quotas")
    if found is None:
        found = program.parts["block_storage.quotas"] = Quotas("block_storage", msgspec.structs.asdict(program.settings.block_storage.quota))
    return found


def type_resources(tx: Transaction) -> list[str]:
    """The names of the limits of single types."""
    names = [name for (name,) in tx.rows(sa.select(VolumeType.c.name).order_by(VolumeType.c.name))]
    return [f"{resource}_{name}" for name in names for resource in PER_TYPE]


def limits(program: Program, tx: Transaction, project_id: str) -> dict[str, int]:
    """Every limit of the project, those of types included."""
    found = quotas(program).limits(tx, project_id)
    return {name: found.get(name, UNLIMITED) for name in [*quotas(program).defaults, *type_resources(tx)]}


def defaults(program: Program, tx: Transaction) -> dict[str, int]:
    """The limits of a project that nobody gave limits of its own."""
    return limits(program, tx, "")


def used(tx: Transaction, project_id: str) -> dict[str, int]:
    """What the project has, by the names of the limits."""
    volumes, snapshots = _by_type(tx, Volume, project_id), _by_type(tx, Snapshot, project_id)
    backups = tx.rows(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(Backup.c.size), 0)).where(Backup.c.project_id == project_id)
    )[0]
    told = _totals(volumes, snapshots) | {"backups": int(backups[0]), "backup_gigabytes": int(backups[1])}
    names = {kind.id: kind.name for kind in tx.all(VolumeType)} if volumes or snapshots else {}
    for kind in set(volumes) | set(snapshots):
        if kind in names:
            told |= _of_type(names[kind], volumes.get(kind, (0, 0)), snapshots.get(kind, (0, 0)))
    return told


def check(ctx: Context, project_id: str, *, kind: VolumeType | None, volumes: int = 0, snapshots: int = 0, gigabytes: int = 0, size: int = 0) -> None:
    """Raise QuotaExceeded when the project may not have that much more.  `size` is that of the whole volume."""
    allowed = quotas(ctx.program)
    allowed.turn(ctx.db, project_id)
    most = allowed.limits(ctx.db, project_id)
    largest = most.get("per_volume_gigabytes", UNLIMITED)
    if largest != UNLIMITED and size > largest:
        raise too_much("per_volume_gigabytes", largest, 0, size)
    have_volumes, have_snapshots = _by_type(ctx.db, Volume, project_id), _by_type(ctx.db, Snapshot, project_id)
    have = _totals(have_volumes, have_snapshots)
    asked = {"volumes": volumes, "snapshots": snapshots, "gigabytes": gigabytes}
    if kind is not None:
        have |= _of_type(kind.name, have_volumes.get(kind.id, (0, 0)), have_snapshots.get(kind.id, (0, 0)))
        asked |= {f"{name}_{kind.name}": amount for name, amount in list(asked.items())}
    for resource, amount in asked.items():
        limit = most.get(resource, UNLIMITED)
        if limit != UNLIMITED and amount > 0 and have[resource] + amount > limit:
            if resource.startswith("gigabytes"):
                raise too_much(resource, limit, have[resource], amount)
            raise too_many(resource, limit, have[resource])


def check_backup(ctx: Context, project_id: str, size: int) -> None:
    """Raise QuotaExceeded when the project may not have a backup of so many GiB more."""
    allowed = quotas(ctx.program)
    allowed.turn(ctx.db, project_id)
    most = allowed.limits(ctx.db, project_id)
    count, sum_ = ctx.db.count(Backup, Backup.c.project_id == project_id), ctx.db.sum(Backup.c.size, Backup.c.project_id == project_id)
    if most["backups"] != UNLIMITED and count + 1 > most["backups"]:
        raise too_many("backups", most["backups"], count)
    if most["backup_gigabytes"] != UNLIMITED and sum_ + size > most["backup_gigabytes"]:
        raise too_much("backup_gigabytes", most["backup_gigabytes"], sum_, size)


def _by_type(tx: Transaction, table: type[Row], project_id: str) -> dict[str | None, tuple[int, int]]:
    """Type id to (count, GiB)."""
    select = (
        sa.select(table.c.volume_type_id, sa.func.count(), sa.func.coalesce(sa.func.sum(table.c.size), 0))
        .where(table.c.project_id == project_id)
        .group_by(table.c.volume_type_id)
    )
    return {kind: (int(count), int(size)) for kind, count, size in tx.rows(select)}


def _totals(volumes: dict[str | None, tuple[int, int]], snapshots: dict[str | None, tuple[int, int]]) -> dict[str, int]:
    return {
        "volumes": sum(count for count, _ in volumes.values()), "snapshots": sum(count for count, _ in snapshots.values()),
        "gigabytes": sum(size for _, size in [*volumes.values(), *snapshots.values()]),
    }  # fmt: skip


def _of_type(name: str, volumes: tuple[int, int], snapshots: tuple[int, int]) -> dict[str, int]:
    return {f"volumes_{name}": volumes[0], f"snapshots_{name}": snapshots[0], f"gigabytes_{name}": volumes[1] + snapshots[1]}
