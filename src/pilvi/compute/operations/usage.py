"""Usage: what projects' servers took over a span of time, counted from the servers themselves."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction


class ServerUsage(msgspec.Struct, kw_only=True):
    """One server's part of the span."""

    server: Server
    hours: float
    ended_at: float | None
    uptime: int


class ProjectUsage(msgspec.Struct, kw_only=True):
    """A project's sums: hours, and hours times GiB, MiB and virtual CPUs."""

    project_id: str
    hours: float = 0.0
    disk: float = 0.0
    memory: float = 0.0
    vcpus: float = 0.0
    servers: list[ServerUsage] = []


def usage(
    tx: Transaction, start: float, stop: float, *, project_id: str | None = None, marker: str | None = None, limit: int | None = None
) -> list[ProjectUsage]:
    """What was used between two moments, by project; `marker` and `limit` count servers, in the order of their ids."""
    where = [Server.c.launched_at.is_not(None), Server.c.launched_at <= stop]
    where.append(sa.or_(Server.c.terminated_at.is_(None), Server.c.terminated_at >= start))
    if project_id is not None:
        where.append(Server.c.project_id == project_id)
    if marker is not None:
        where.append(Server.c.id > marker)
    found: dict[str, ProjectUsage] = {}
    for server in tx.all(Server, *where, order=[Server.c.id], limit=limit):
        assert server.launched_at is not None
        until = min(server.terminated_at or stop, stop)
        hours = max(0.0, until - max(server.launched_at, start)) / 3600
        flavor = server.flavor
        project = found.setdefault(server.project_id, ProjectUsage(project_id=server.project_id, servers=[]))
        project.hours += hours
        project.disk += hours * (flavor.disk + flavor.ephemeral)
        project.memory += hours * flavor.ram
        project.vcpus += hours * flavor.vcpus
        uptime = int((server.terminated_at or clock.now()) - server.launched_at)
        project.servers.append(ServerUsage(server=server, hours=hours, ended_at=server.terminated_at, uptime=uptime))
    return list(found.values())
