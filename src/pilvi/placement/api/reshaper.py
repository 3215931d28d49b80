"""The reshaper: inventories move between providers together with what is allocated from them."""

from __future__ import annotations

from functools import lru_cache

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Request, Resource
from pilvi.placement import names, policy
from pilvi.placement.api import schema, wire
from pilvi.placement.api.allocations import UUID_KEY, claim_of, consumers_schema
from pilvi.placement.api.inventories import GENERATION, INVENTORIES, meant
from pilvi.placement.errors import UnknownProvider
from pilvi.placement.operations import allocations, inventories, providers
from pilvi.placement.tables import Provider

resource = Resource("/reshaper", since="1.30")


@lru_cache(maxsize=16)
def _schema(minor: int) -> schema.Schema:
    one = schema.obj(
        {"resource_provider_generation": GENERATION, "inventories": INVENTORIES}, required=("resource_provider_generation", "inventories")
    )
    return schema.obj(
        {"inventories": schema.obj(patterns={UUID_KEY: one}), "allocations": consumers_schema(minor, required=False)},
        required=("inventories", "allocations"),
    )


@resource.post("", rule=policy.RESHAPE, answers=204)
def reshape(ctx: Context, request: Request) -> None:
    """Set inventories of several providers and allocations of several consumers, all or nothing."""
    assert ctx.version is not None
    body = wire.read(request, _schema(ctx.version.minor))
    rows = {row.uuid: row for row in ctx.db.by(Provider, Provider.c.uuid, body["inventories"])}
    for uuid, one in body["inventories"].items():
        if uuid not in rows:
            raise UnknownProvider(f"Resource provider {uuid} in inventories not found: No resource provider with uuid {uuid} found")
        providers.expect_generation(rows[uuid], one["resource_provider_generation"])
    wanted = {uuid: {name: meant(given) for name, given in one["inventories"].items()} for uuid, one in body["inventories"].items()}
    missing = names.unknown_classes(ctx.db, {name for one in wanted.values() for name in one})
    if missing:
        raise Invalid(f"No such resource class {', '.join(missing)}.")
    gone: dict[str, list[str]] = {}
    for uuid, one in wanted.items():
        inventories.require_sane(one, uuid, doing="update", empty=True)
        had = inventories.of(ctx.db, uuid)
        gone[uuid] = [name for name in had if name not in one]
        inventories.put(ctx.db, uuid, one, had)
        providers.change(ctx.db, rows[uuid])
    allocations.replace(ctx.db, [claim_of(ctx, consumer, one) for consumer, one in body["allocations"].items()])
    for uuid, classes in gone.items():
        inventories.drop(ctx.db, uuid, classes)
        providers.touch(ctx.db, uuid)
