"""What block storage tells upwards."""

from __future__ import annotations

import msgspec


class VolumeChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A volume is in another state.  `what` is the action in a word: create, delete, extend, attach, ..."""

    volume_id: str
    project_id: str
    what: str
    status: str


class VolumeExtended(msgspec.Struct, frozen=True, kw_only=True):
    """An attached volume is larger now; who runs the servers tells their hypervisors."""

    volume_id: str
    server_ids: list[str]
    new_size: int  # GiB


class DetachAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks block storage itself to end an attachment; who uses it for a living server refuses with Conflict."""

    volume_id: str
    attachment_id: str
    server_id: str


class AttachmentsAsked(msgspec.Struct, kw_only=True):
    """Which of these servers are there?  Who knows of servers adds to `gone` those that are not (a check for orphans)."""

    server_ids: list[str]
    gone: set[str] = set()
