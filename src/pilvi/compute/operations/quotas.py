"""Quotas of compute: the limits, held against the rows that are there."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from pilvi.compute.tables.servers import Server
from pilvi.kernel.context import Context
from pilvi.kernel.errors import QuotaExceeded
from pilvi.kernel.program import Program
from pilvi.kernel.quota import UNLIMITED, Quotas


def quotas(program: Program) -> Quotas:
    """Compute's limits, as configured."""
    found = program.parts.get("compute.quotas")
    if found is None:
        found = program.parts["compute.quotas"] = Quotas("compute", msgspec.structs.asdict(program.settings.compute.quota))
    return found


def used(ctx: Context, project_id: str) -> dict[str, int]:
    """What the project's servers take: instances, cores, ram."""
    select = sa.select(
        sa.func.count(), sa.func.coalesce(sa.func.sum(Server.c.vcpus), 0), sa.func.coalesce(sa.func.sum(Server.c.memory_mib), 0)
    ).where(Server.c.project_id == project_id, Server.c.deleted_at.is_(None), Server.c.vm_state != "soft-delete")
    count, cores, ram = ctx.db.rows(select)[0]
    return {"instances": int(count), "cores": int(cores), "ram": int(ram)}


def check_servers(ctx: Context, project_id: str, *, instances: int, cores: int, ram: int, least: int = 0) -> int:
    """How many of `instances` servers the project may have, at least `least` (all, when 0); raises QuotaExceeded.

    `cores` and `ram` are those of one server (of the difference, in a resize: then `instances` is 0).
    """
    limits = quotas(ctx.program)
    limits.turn(ctx.db, project_id)
    most = limits.limits(ctx.db, project_id)
    number = instances or 1
    wanted = (("instances", 1 if instances else 0), ("cores", cores), ("ram", ram))
    limited = [(resource, each, most[resource]) for resource, each in wanted if most[resource] != UNLIMITED and each > 0]
    taken = used(ctx, project_id) if limited else {}
    for resource, each, limit in limited:
        fit = (limit - taken[resource]) // each
        if fit < number:
            if not least or fit < least:
                raise QuotaExceeded(resource=resource, limit=limit, used=taken[resource], asked=each * number)
            number = fit
    return number


def check_count(ctx: Context, project_id: str, resource: str, count: int) -> None:
    """Raise QuotaExceeded when a thing would have more of `resource` (metadata items, group members) than the project may give it."""
    limit = quotas(ctx.program).limits(ctx.db, project_id)[resource]
    if limit != UNLIMITED and count > limit:
        raise QuotaExceeded(resource=resource, limit=limit, used=0, asked=count)
