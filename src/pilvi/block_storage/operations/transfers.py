"""Transfers: a volume offered to whoever knows the key, and taken over with it."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from pilvi.block_storage.errors import wrong_state
from pilvi.block_storage.events import VolumeChanged
from pilvi.block_storage.operations import quotas
from pilvi.block_storage.tables.types import VolumeType
from pilvi.block_storage.tables.volumes import Snapshot, Transfer, Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.ids import new_id


def _digest(salt: str, key: str) -> str:
    return hmac.new(salt.encode(), key.encode(), hashlib.sha256).hexdigest()


def create(ctx: Context, volume: Volume, *, name: str | None, no_snapshots: bool) -> tuple[Transfer, str]:
    """Offer the volume; answers the transfer and the key, which is told only now."""
    if volume.status != "available":
        raise wrong_state("transferred", "Volume", volume.id, volume.status, "available")
    unsettled = ctx.db.one(Snapshot, Snapshot.c.volume_id == volume.id, Snapshot.c.status != "available")
    if unsettled is not None and not no_snapshots:
        raise wrong_state("transferred with its volume", "Snapshot", unsettled.id, unsettled.status, "available")
    key, salt = secrets.token_hex(8), secrets.token_hex(8)
    ctx.db.change(volume, status="awaiting-transfer", updated_at=clock.now())
    transfer = ctx.db.insert(
        Transfer(
            id=new_id(), project_id=volume.project_id, volume_id=volume.id, name=name, salt=salt, digest=_digest(salt, key),
            no_snapshots=no_snapshots, created_at=clock.now(),
        )
    )  # fmt: skip
    return transfer, key


def accept(ctx: Context, transfer: Transfer, key: str, *, with_snapshots: bool) -> Volume:
    """Take the volume over; `with_snapshots`: by the road that hands its snapshots over, too."""
    if not hmac.compare_digest(_digest(transfer.salt, key), transfer.digest):
        raise Invalid(f"Attempt to transfer {transfer.id} with invalid auth key.", field="auth_key")
    volume = ctx.db.get_to_change(Volume, transfer.volume_id)
    if volume is None or volume.status != "awaiting-transfer":
        raise Invalid(f"Transfer {transfer.id}: the volume is not waiting to be transferred.")
    snapshots = ctx.db.all(Snapshot, Snapshot.c.volume_id == volume.id)
    taken = snapshots if with_snapshots and not transfer.no_snapshots else []
    kind = ctx.db.get(VolumeType, volume.volume_type_id) if volume.volume_type_id else None
    size = volume.size + sum(one.size for one in taken)
    quotas.check(ctx, ctx.project_id, kind=kind, volumes=1, snapshots=len(taken), gigabytes=size, size=volume.size)
    now = clock.now()
    ctx.db.change(
        volume, expect={"status": "awaiting-transfer"}, status="available", project_id=ctx.project_id, user_id=ctx.user_id, updated_at=now
    )
    for snapshot in taken:
        ctx.db.change(snapshot, project_id=ctx.project_id, user_id=ctx.user_id, updated_at=now)
    ctx.db.remove(transfer)
    ctx.publish(VolumeChanged(volume_id=volume.id, project_id=volume.project_id, what="transfer", status=volume.status))
    return volume


def withdraw(ctx: Context, transfer: Transfer) -> None:
    """Take the offer back."""
    ctx.db.update(Volume, Volume.c.id == transfer.volume_id, Volume.c.status == "awaiting-transfer", status="available", updated_at=clock.now())
    ctx.db.remove(transfer)
