"""The compute service (Nova): servers, their sizes, keys and groups, and the hosts that run them.

This is the door: what other services, and the command line, may call.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi.compute.events import ServerChanged, ServerFailed
from pilvi.compute.logic import explain as _explain
from pilvi.compute.logic import states as _states
from pilvi.compute.operations.drain import Draining, drain, draining
from pilvi.compute.operations.stories import reasons, story, why_move
from pilvi.compute.tables.explanations import Explanation as _Explanation
from pilvi.compute.tables.servers import Server as _Server
from pilvi.kernel.db import Transaction
from pilvi.kernel.trace import Span

__all__ = [
    "Draining", "ServerChanged", "ServerFailed", "ServerInfo", "drain", "draining", "list_servers", "reasons", "story", "trace", "why", "why_move",
]  # fmt: skip


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A server as other services see it."""

    id: str
    name: str
    project_id: str
    user_id: str
    status: str
    host: str
    flavor: str
    image_id: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    created_at: float
    launched_at: float | None
    metadata: dict[str, str] = {}


def why(tx: Transaction, server_id: str) -> list[tuple[str, str, str]]:
    """Why each host was or was not taken for the server: (host, filter that refused it or "", sentence)."""
    found = tx.get(_Explanation, server_id)
    return _explain.table(found.verdicts) if found is not None else []


def trace(tx: Transaction, server_id: str) -> list[Span]:
    """The steps of what was done for the server, in the order in which they began."""
    return tx.all(Span, Span.c.subject == server_id, order=[Span.c.started_at, Span.c.id])


def list_servers(tx: Transaction, *, host: str = "", project_id: str = "") -> list[ServerInfo]:
    """The servers that are there: all, or those of a host or a project."""
    where: list[Any] = [_Server.c.deleted_at.is_(None)]
    if host:
        where.append(_Server.c.host == host)
    if project_id:
        where.append(_Server.c.project_id == project_id)
    return [
        ServerInfo(
            id=one.id, name=one.name, project_id=one.project_id, user_id=one.user_id, status=_states.status(one.vm_state, one.task_state),
            host=one.host or "", flavor=one.flavor.name, image_id=one.image_id, vcpus=one.vcpus, memory_mib=one.memory_mib,
            disk_gib=one.flavor.disk + one.flavor.ephemeral, created_at=one.created_at, launched_at=one.launched_at, metadata=one.metadata,
        )
        for one in tx.all(_Server, *where, order=[_Server.c.created_at])
    ]  # fmt: skip
