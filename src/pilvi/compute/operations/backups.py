"""Backups: images of a server that are made in turn, the oldest of a kind going when there are too many."""

from __future__ import annotations

from pilvi import image
from pilvi.compute.tables.backups import Backup
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound, PilviError


def note(ctx: Context, server: Server, image_id: str, kind: str) -> None:
    """A backup image was begun."""
    ctx.db.insert(Backup(image_id=image_id, server_id=server.id, kind=kind, created_at=clock.now()))


def rotate(ctx: Context, server: Server, kind: str, keep: int) -> None:
    """Delete the oldest backups of the kind, so that `keep` are left."""
    found = ctx.db.all(Backup, Backup.c.server_id == server.id, Backup.c.kind == kind, order=[Backup.c.created_at.desc()])
    for old in found[keep:]:
        try:
            image.delete(ctx.system(), old.image_id)
        except NotFound:
            pass  # its owner deleted it
        except PilviError:
            continue  # protected, or in use: it stays, and is tried again at the next backup
        ctx.db.remove(old)
