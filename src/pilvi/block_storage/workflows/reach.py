"""How workflows reach the agent that has a volume, and go on with what it answers."""

from __future__ import annotations

from pilvi.block_storage.agent import TOPIC, VolumeAgent
from pilvi.block_storage.operations.hosts import node_of
from pilvi.block_storage.tables.volumes import Backup, Snapshot, Volume
from pilvi.kernel import agent
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import HostError
from pilvi.kernel.program import Program
from pilvi.kernel.progress import Progress
from pilvi.kernel.workflows import Wait

_POLL = 0.4  # seconds between two questions how long work goes
BUSY = 1.0  # seconds until a volume that was being copied is tried again


def agent_of(program: Program, host: str, *, request_id: str = "") -> VolumeAgent:
    """The agent that answers for host@backend#pool."""
    return agent.remote(program.bus, VolumeAgent, TOPIC, host=node_of(host), timeout=120.0, request_id=request_id)


def read(ctx: Context, volume_id: str) -> Volume:
    """The volume as it is written now; HostError when it is gone."""
    with ctx.program.db.transaction(write=False) as tx:
        volume = tx.get(Volume, volume_id)
    if volume is None:
        raise HostError(f"Volume {volume_id} is gone.", elsewhere=False)
    return volume


def go_on(progress: Progress) -> None:
    """Return when the work is done; Wait while it goes on, HostError when it has failed."""
    if progress.state == "working":
        raise Wait(_POLL)
    if progress.state == "failed":
        raise HostError(progress.why, elsewhere=progress.elsewhere)


def retry_while_copied(ctx: Context, volume_id: str, error: HostError) -> None:
    """Raise Wait when the verb failed because the volume is being copied just now, else the error.

    The step's deadline bounds how long that is tried.
    """
    with ctx.program.db.transaction(write=False) as tx:
        copied = is_copied(tx, volume_id)
    if copied:
        raise Wait(BUSY) from error
    raise error


def has_heirs(tx: Transaction, volume_id: str, snapshot_ids: list[str]) -> bool:
    """Whether volumes are being made from the volume or its snapshots: it goes when they are made."""
    making = Volume.c.status == "creating"
    return bool(
        tx.count(Volume, Volume.c.source_volid == volume_id, making)
        or (snapshot_ids and tx.count(Volume, Volume.c.snapshot_id.in_(snapshot_ids), making))
    )


def is_copied(tx: Transaction, volume_id: str) -> bool:
    """Whether something is being made from the volume."""
    return bool(
        tx.count(Volume, Volume.c.source_volid == volume_id, Volume.c.status == "creating")
        or tx.count(Snapshot, Snapshot.c.volume_id == volume_id, Snapshot.c.status.in_(("creating", "deleting")))
        or tx.count(Backup, Backup.c.volume_id == volume_id, Backup.c.status.in_(("creating", "deleting")))
        or tx.count(Volume, Volume.c.id == volume_id, Volume.c.copy_id.is_not(None))
    )
