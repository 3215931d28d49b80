"""Volume types: which there are for whom, and which one a new volume gets."""

from __future__ import annotations

import sqlalchemy as sa

from pilvi.block_storage.tables.types import DefaultType, QosSpecs, TypeAccess, TypeEncryption, VolumeType
from pilvi.block_storage.tables.volumes import Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.ids import new_id
from pilvi.kernel.program import Program


def bootstrap(program: Program) -> None:
    """Every cloud has the type that volumes get when nobody names one."""
    name = program.settings.block_storage.default_volume_type

    def work(tx: Transaction) -> None:
        if tx.one(VolumeType, VolumeType.c.name == name) is None:
            tx.insert(VolumeType(id=new_id(), name=name, description="Default Volume Type", created_at=clock.now()))

    program.db.run(work)


def visible(ctx: Context, ref: str, *, project_id: str | None = None) -> VolumeType:
    """The type of that id or name, if the project may use it (the caller's, by default); NotFound otherwise.

    Who writes because of it finds that it stays.
    """
    kind = ctx.db.one(VolumeType, sa.or_(VolumeType.c.id == ref, VolumeType.c.name == ref))
    project = ctx.project_id if project_id is None else project_id
    if kind is None or not (kind.is_public or ctx.is_admin or ctx.db.get(TypeAccess, kind.id, project)) or not stays(ctx, kind):
        raise NotFound(f"Volume type {ref} could not be found.")
    return kind


def stays(ctx: Context, kind: VolumeType | None) -> bool:
    """Whether a type is there until what is written because of it is there, too; who only reads need not know."""
    return kind is None or not ctx.db.write or ctx.db.hold(VolumeType, kind.id)


def by_id(ctx: Context, type_id: str) -> VolumeType:
    """The type of that id, for who manages types: to be changed, where they write."""
    kind = ctx.db.get_to_change(VolumeType, type_id)
    if kind is None:
        raise NotFound(f"Volume type {type_id} could not be found.")
    return kind


def default(ctx: Context, project_id: str) -> VolumeType | None:
    """What a project's volumes are when no type is named."""
    own = ctx.db.get(DefaultType, project_id)
    found = ctx.db.get(VolumeType, own.type_id) if own is not None else None
    return found or ctx.db.one(VolumeType, VolumeType.c.name == ctx.program.settings.block_storage.default_volume_type)


def names(tx: Transaction, ids: set[str]) -> dict[str, str]:
    """Names of types by their ids."""
    if len(ids) == 1:
        kind = tx.get(VolumeType, next(iter(ids)))
        return {kind.id: kind.name} if kind else {}
    return {kind.id: kind.name for kind in tx.by(VolumeType, VolumeType.c.id, ids)}


def create(ctx: Context, *, name: str, description: str | None, is_public: bool, specs: dict[str, str]) -> VolumeType:
    if ctx.db.one(VolumeType, VolumeType.c.name == name) is not None:
        raise Conflict(f"Volume Type {name} already exists.")
    kind = VolumeType(id=new_id(), name=name, description=description, is_public=is_public, extra_specs=specs, created_at=clock.now())
    return ctx.db.insert(kind)


def remove(ctx: Context, kind: VolumeType) -> None:
    """Forget the type, which is locked; one that volumes have, or that is the cloud's default, stays."""
    if ctx.db.count(Volume, Volume.c.volume_type_id == kind.id):
        raise Invalid(f"Target volume type is still in use: volumes have type {kind.name}.")
    if kind.name == ctx.program.settings.block_storage.default_volume_type:
        raise Invalid(f"Volume type {kind.name} is the default and cannot be deleted.")
    for table, column in ((TypeAccess, TypeAccess.c.type_id), (TypeEncryption, TypeEncryption.c.type_id), (DefaultType, DefaultType.c.type_id)):
        ctx.db.delete(table, column == kind.id)
    ctx.db.remove(kind)


def write_specs(ctx: Context, kind: VolumeType, specs: dict[str, str]) -> None:
    """Write the extra specs; what decides where volumes can be is not changed below volumes that are there."""
    changed = {key for key in specs.keys() | kind.extra_specs.keys() if specs.get(key) != kind.extra_specs.get(key)}
    if changed & {"multiattach"} and ctx.db.count(Volume, Volume.c.volume_type_id == kind.id):
        raise Invalid("Volume type is currently in use: multiattach cannot be changed while volumes have this type.")
    ctx.db.change(kind, extra_specs=specs, updated_at=clock.now())


def is_multiattach(kind: VolumeType | None) -> bool:
    """Whether several servers may attach volumes of the type."""
    return kind is not None and kind.extra_specs.get("multiattach", "").replace(" ", "").lower() == "<is>true"


def qos(ctx: Context, qos_id: str) -> QosSpecs:
    found = ctx.db.get_to_change(QosSpecs, qos_id)
    if found is None:
        raise NotFound(f"No such qos spec {qos_id}.")
    return found
