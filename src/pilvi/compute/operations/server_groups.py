"""Server groups: servers that should be together, or apart."""

from __future__ import annotations

from pilvi.compute.operations.quotas import quotas
from pilvi.compute.tables.server_groups import ServerGroup
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.ids import new_id

HARD = ("affinity", "anti-affinity")
POLICIES = (*HARD, "soft-affinity", "soft-anti-affinity")


def create(ctx: Context, *, name: str, policy: str, rules: dict[str, int]) -> ServerGroup:
    """Make a group; how many servers may share a host is for anti-affinity alone."""
    if rules and policy != "anti-affinity":
        raise Invalid("Invalid input for field server_group.rules: only anti-affinity policy supports rules.", field="server_group.rules")
    limits = quotas(ctx.program)
    limits.turn(ctx.db, ctx.project_id)
    used = ctx.db.count(ServerGroup, ServerGroup.c.project_id == ctx.project_id)
    limits.check(ctx.db, ctx.project_id, "server_groups", used=used, asked=1)
    return ctx.db.insert(
        ServerGroup(
            id=new_id(), name=name, project_id=ctx.project_id, user_id=ctx.user_id, policy=policy, rules=rules, created_at=clock.now()
        )
    )


def get(ctx: Context, group_id: str) -> ServerGroup:
    """The group, if the caller may act on it."""
    group = ctx.db.get(ServerGroup, group_id)
    if group is None:
        raise NotFound(f"Instance group {group_id} could not be found.")
    return ctx.see(group, "Instance group", group_id)


def index(ctx: Context, *, everyone: bool, limit: int, offset: int) -> list[ServerGroup]:
    """The project's groups, or all projects'; in order of their making."""
    where = [] if everyone else [ServerGroup.c.project_id == ctx.project_id]
    found = ctx.db.all(ServerGroup, *where, order=[ServerGroup.c.created_at, ServerGroup.c.id])
    return found[offset : offset + limit]


def members(ctx: Context, groups: list[ServerGroup]) -> dict[str, list[str]]:
    """The servers of each group."""
    found: dict[str, list[str]] = {group.id: [] for group in groups}
    for server in ctx.db.by(Server, Server.c.group_id, found, Server.c.deleted_at.is_(None)):
        found[server.group_id].append(server.id)
    return found


def delete(ctx: Context, group_id: str) -> None:
    """Dissolve a group; its servers stay where they are."""
    group = get(ctx, group_id)
    if ctx.db.lock(ServerGroup, group.id) is None:
        raise NotFound(f"Instance group {group_id} could not be found.")
    ctx.db.update(Server, Server.c.group_id == group.id, group_id="")
    ctx.db.remove(group)
