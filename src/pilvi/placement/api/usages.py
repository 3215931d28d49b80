"""Usages: what a project, or one of its users, uses in all."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.placement import policy
from pilvi.placement.api import schema, wire
from pilvi.placement.tables import Allocation, Consumer

resource = Resource("/usages", since="1.9")

_ID = {"type": "string", "minLength": 1, "maxLength": 255}
_QUERY = schema.obj({"project_id": _ID, "user_id": _ID}, required=("project_id",))
_TYPE = {**_ID, "pattern": "^([A-Z0-9_]+|all|unknown)$"}
_QUERY_TYPED = schema.obj({"project_id": _ID, "user_id": _ID, "consumer_type": _TYPE}, required=("project_id",))


@resource.get("", rule=policy.USAGES, precheck=False)
def index(ctx: Context, request: Request) -> Answer:
    """Sum up what a project uses, since 1.38 by type of consumer."""
    typed = wire.at_least(ctx, 38)
    asked = wire.asked(request, _QUERY_TYPED if typed else _QUERY)
    ctx.allow(ctx.rule, {"project_id": asked["project_id"]})
    where: list[Any] = [Consumer.c.project_id == asked["project_id"]]
    if "user_id" in asked:
        where.append(Consumer.c.user_id == asked["user_id"])
    kind = asked.get("consumer_type")
    if kind == "unknown":
        where.append(Consumer.c.type.is_(None))
    elif kind and kind != "all":
        where.append(Consumer.c.type == kind)
    joined = Consumer.t.join(Allocation.t, Allocation.c.consumer == Consumer.c.uuid)
    of_all = not typed or kind == "all"
    group = sa.literal("all") if of_all else sa.func.coalesce(Consumer.c.type, "unknown")
    keys = [Allocation.c.resource_class] if of_all else [Consumer.c.type, Allocation.c.resource_class]
    statement = sa.select(group, Allocation.c.resource_class, sa.func.sum(Allocation.c.used)).select_from(joined).where(*where).group_by(*keys)
    told: dict[str, dict[str, int]] = {}
    for name, resource_class, used in ctx.db.rows(statement):
        told.setdefault(name, {})[resource_class] = int(used)
    if not typed:
        return wire.tell(ctx, request, {"usages": told.get("all", {})})
    keys = [] if of_all else [Consumer.c.type]
    for name, count in ctx.db.rows(sa.select(group, sa.func.count()).select_from(Consumer.t).where(*where).group_by(*keys)):
        if name in told:
            told[name]["consumer_count"] = count
    return wire.tell(ctx, request, {"usages": told})
