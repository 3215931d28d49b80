"""What compute tells upwards."""

from __future__ import annotations

import msgspec


class ServerChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A server is in another state.  `what` is the action in a word: create, delete, stop, resize, ..."""

    server_id: str
    project_id: str
    what: str
    vm_state: str
    task_state: str | None = None


class ServerFailed(msgspec.Struct, frozen=True, kw_only=True):
    """Something asked of a server did not work."""

    server_id: str
    project_id: str
    what: str
    why: str
