"""Checks: what is orphaned or drifted between the rows and the back ends, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pilvi.block_storage.agent import Heard
from pilvi.block_storage.events import AttachmentsAsked
from pilvi.block_storage.operations import attachments
from pilvi.block_storage.operations.hosts import is_up, volume_services
from pilvi.block_storage.tables.volumes import Attachment, Backup, Snapshot, Volume
from pilvi.block_storage.workflows.reach import agent_of
from pilvi.kernel import clock
from pilvi.kernel.errors import PilviError
from pilvi.kernel.program import Program

Finding = tuple[str, str, str, Callable[[], None] | None]
_GRACE = 60.0  # seconds that a row may be on its way to or from the world
_UNMADE = ("creating", "error", "deleting", "error_deleting", "restoring-backup", "error_restoring", "downloading")


def volumes(program: Program) -> Iterator[Finding]:
    """Volumes and snapshots without rows, rows without volumes or snapshots, exports without attachments."""
    for host, heard in _looks(program):
        with program.db.transaction(write=False) as tx:
            rows = {one.id: one for one in tx.all(Volume, Volume.c.host.startswith(f"{host}#", autoescape=True))}
            snapshots = {one.id: one for one in tx.by(Snapshot, Snapshot.c.volume_id, rows)}
            wished = {one.id for one in tx.by(Attachment, Attachment.c.volume_id, rows)}
            working = {ref for ref in [*rows, *snapshots] if program.workflows.pending(tx, ref)}
        seen = {one.id: one for one in heard.volumes}
        for one in heard.volumes:
            if one.id not in rows:
                yield "volume without a row", one.id, f"{host} holds a volume that nobody wants.", _remover(program, host, one.id, one.exports)
                continue
            for name in one.snapshots:
                if name not in snapshots:
                    sentence = f"{host} holds a snapshot of volume {one.id} that nobody wants."
                    yield "snapshot without a row", name, sentence, _snapshot_remover(program, host, one.id, name)
            for name in one.exports:
                if name not in wished:
                    sentence = f"Volume {one.id} is exported for an attachment that is gone."
                    yield "export without an attachment", name, sentence, _unexporter(program, host, one.id, name)
            if one.size_gib < rows[one.id].size and one.id not in working:
                row = rows[one.id]
                sentence = f"The volume has {one.size_gib} GiB in {host} and should have {row.size} GiB."
                yield "volume of the wrong size", one.id, sentence, _grower(program, host, one.id, row.size)
        for row in rows.values():
            if row.id not in seen and row.status not in _UNMADE and row.id not in working and _settled(row.updated_at or row.created_at):
                yield "row without a volume", row.id, f"{host} does not hold this volume; delete it, or restore a backup.", _fail(program, row)
        for snapshot in snapshots.values():
            there = seen.get(snapshot.volume_id)
            lost = there is not None and snapshot.id not in there.snapshots and snapshot.status in ("available", "restoring")
            if lost and snapshot.id not in working:
                yield "row without a snapshot", snapshot.id, f"{host} does not hold this snapshot; delete it.", _fail(program, snapshot)


def backups(program: Program) -> Iterator[Finding]:
    """Backups whose data are gone."""
    with program.db.transaction(write=False) as tx:
        rows = tx.all(Backup, Backup.c.status == "available")
    for host in sorted({one.host for one in rows}):
        here = {one.copy_id: one for one in rows if one.host == host}
        try:
            missing = agent_of(program, host).missing_copies(list(here))
        except PilviError:
            continue  # a host that does not answer is told of by its state
        for copy_id in missing:
            yield "row without a backup", here[copy_id].id, f"{host} does not hold the data of this backup; delete it.", _fail(program, here[copy_id])


def servers(program: Program) -> Iterator[Finding]:
    """Attachments whose servers are gone: who knows of servers tells which."""
    with program.db.transaction(write=False) as tx:
        rows = [one for one in tx.all(Attachment, Attachment.c.server_id.is_not(None)) if _settled(one.created_at)]
        asked = AttachmentsAsked(server_ids=sorted({one.server_id for one in rows if one.server_id}))
        program.system_context(tx).publish(asked)
    for one in rows:
        if one.server_id in asked.gone:
            yield "attachment without a server", one.id, f"Server {one.server_id} is gone and still has volume {one.volume_id}.", _ender(program, one)


def _looks(program: Program) -> Iterator[tuple[str, Heard]]:
    """Each back end that answers, and what is in it."""
    with program.db.transaction(write=False) as tx:
        hosts = [one.host for one in volume_services(tx) if is_up(program, one)]
    for host in hosts:
        try:
            yield host, agent_of(program, host).observe()
        except PilviError:
            continue  # a host that does not answer is told of by its state


def _settled(since: float) -> bool:
    return clock.now() - since > _GRACE


def _remover(program: Program, host: str, volume_id: str, exports: list[str]) -> Callable[[], None]:
    return lambda: agent_of(program, host).remove_volume(volume_id, exports)


def _snapshot_remover(program: Program, host: str, volume_id: str, snapshot_id: str) -> Callable[[], None]:
    return lambda: agent_of(program, host).remove_snapshot(volume_id, snapshot_id)


def _unexporter(program: Program, host: str, volume_id: str, attachment_id: str) -> Callable[[], None]:
    return lambda: agent_of(program, host).disconnect(volume_id, attachment_id)


def _grower(program: Program, host: str, volume_id: str, size: int) -> Callable[[], None]:
    return lambda: agent_of(program, host).ensure_size(volume_id, size)


def _fail(program: Program, row: Volume | Snapshot | Backup) -> Callable[[], None]:
    """The row says that the thing is in error."""
    kind = type(row)

    def write() -> None:
        with program.db.transaction() as tx:
            tx.update(kind, kind.c.id == row.id, kind.c.status == row.status, status="error", updated_at=clock.now())

    return write


def _ender(program: Program, row: Attachment) -> Callable[[], None]:
    def end() -> None:
        attachments.disconnect(program, row.id)
        with program.db.transaction() as tx:
            ctx = program.system_context(tx)
            if tx.get(Attachment, row.id) is not None:
                attachments.remove(ctx, row)

    return end
