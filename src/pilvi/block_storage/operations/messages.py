"""User messages: why something that was accepted did not work after all."""

from __future__ import annotations

from pilvi.block_storage.tables.volumes import Message
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.ids import new_id
from pilvi.kernel.program import Program

# what was done -> cinder's number of the action
ACTIONS = {
    "schedule": "001", "attach": "002", "upload": "003", "from_image": "005", "delete": "006", "extend": "007", "create": "008",
    "snapshot_create": "009", "snapshot_delete": "010", "revert": "011", "backup_create": "013", "backup_delete": "014",
    "backup_restore": "015", "reimage": "016",
}  # fmt: skip

# of what the back end failed at -> cinder's number of the reason; all others are unknown
_FAILED = {
    "upload": "004", "extend": "010", "create": "012", "snapshot_create": "013", "snapshot_delete": "016", "attach": "021",
    "backup_create": "020", "backup_delete": "025", "backup_restore": "026", "reimage": "028",
}  # fmt: skip
_NO_BACKEND = "003"
_UNKNOWN = "001"



def tell(ctx: Context, action: str, kind: str, ref: str, project_id: str, text: str) -> None:
    """Leave a message for the project; `kind` is VOLUME, VOLUME_SNAPSHOT or VOLUME_BACKUP."""
    now = clock.now()
    detail = _NO_BACKEND if action == "schedule" else _FAILED.get(action, _UNKNOWN)
    ctx.db.insert(
        Message(
            id=new_id(), project_id=project_id, request_id=ctx.request_id, resource_type=kind, resource_id=ref, action=ACTIONS[action],
            detail=detail, text=text, created_at=now, expires_at=now + ctx.program.settings.block_storage.message_ttl,
        )
    )  # fmt: skip


def sweep(program: Program) -> None:
    """Forget the messages whose time is over."""
    with program.db.transaction() as tx:
        tx.delete(Message, Message.c.expires_at < clock.now())
