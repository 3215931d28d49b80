"""Inventories: how much of each resource class a provider has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, MethodNotAllowed, NotFound
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.placement import names, policy
from pilvi.placement.api import schema, wire
from pilvi.placement.operations import inventories, providers
from pilvi.placement.operations.inventories import MOST, Inventory
from pilvi.placement.tables import Provider, Stock

resource = Resource("/resource_providers/{uuid}/inventories", tag="inventories")

CLASS = {"type": "string", "pattern": "^[A-Z0-9_]+$", "maxLength": 255}
GENERATION = {"type": "integer"}
_FIELDS = {
    "total": {"type": "integer", "minimum": 1, "maximum": MOST},
    "reserved": {"type": "integer", "minimum": 0, "maximum": MOST},
    "min_unit": {"type": "integer", "minimum": 1, "maximum": MOST},
    "max_unit": {"type": "integer", "minimum": 1, "maximum": MOST},
    "step_size": {"type": "integer", "minimum": 1, "maximum": MOST},
    "allocation_ratio": {"type": "number", "minimum": 0, "maximum": 3.40282e38},
}
_ONE = {**_FIELDS, "resource_provider_generation": GENERATION}
_CREATE = schema.obj({**_ONE, "resource_class": CLASS}, required=("resource_class", "total"))
_UPDATE = schema.obj(_ONE, required=("total", "resource_provider_generation"))
INVENTORIES = schema.obj(patterns={"^[A-Z0-9_]+$": schema.obj(_FIELDS, required=("total",))})
_PUT = schema.obj(
    {"resource_provider_generation": GENERATION, "inventories": INVENTORIES}, required=("resource_provider_generation", "inventories")
)


def meant(body: Mapping[str, Any]) -> Inventory:
    """The inventory that a body says."""
    return Inventory(**{name: int(body[name]) if name != "allocation_ratio" else body[name] for name in _FIELDS if name in body})


def _told(stock: Stock | Inventory) -> dict[str, Any]:
    return {name: getattr(stock, name) for name in Inventory.__struct_fields__}


def _all(ctx: Context, request: Request, provider: Provider) -> Answer:
    found = inventories.of(ctx.db, provider.uuid)
    body = {"resource_provider_generation": provider.generation, "inventories": {name: _told(one) for name, one in found.items()}}
    return wire.tell(ctx, request, body, moment=max((one.updated_at for one in found.values()), default=None))


def _one(ctx: Context, request: Request, provider: Provider, inventory: Stock | Inventory, **options: Any) -> Answer:
    return wire.tell(ctx, request, {"resource_provider_generation": provider.generation, **_told(inventory)}, **options)


@resource.get("", rule=policy.INVENTORIES_LIST)
def index(ctx: Context, uuid: str, request: Request) -> Answer:
    """List a provider's inventories."""
    return _all(ctx, request, providers.find(ctx.db, uuid))


@resource.post("", rule=policy.INVENTORIES_CREATE, answers=201)
def create(ctx: Context, uuid: str, request: Request) -> Answer:
    """Add an inventory of one class."""
    provider = providers.find(ctx.db, uuid)
    body = wire.read(request, _CREATE)
    name, wanted = body["resource_class"], meant(body)
    names.require_classes(ctx.db, [name])
    inventories.require_sane({name: wanted}, uuid, doing="create", empty=wire.at_least(ctx, 26))
    if ctx.db.get(Stock, uuid, name) is not None:
        raise Conflict(f"Update conflict: the provider {uuid} has an inventory of {name} already.")
    inventories.put(ctx.db, uuid, {name: wanted}, {})
    providers.change(ctx.db, provider)
    headers = {"Location": wire.url(request, f"/resource_providers/{uuid}/inventories/{name}")}
    return _one(ctx, request, provider, wanted, status=201, headers=headers)


@resource.put("", rule=policy.INVENTORIES_UPDATE)
def replace(ctx: Context, uuid: str, request: Request) -> Answer:
    """Set all of a provider's inventories; classes that are not named are removed."""
    provider = providers.find(ctx.db, uuid)
    body = wire.read(request, _PUT)
    providers.expect_generation(provider, body["resource_provider_generation"])
    wanted = {name: meant(one) for name, one in body["inventories"].items()}
    missing = names.unknown_classes(ctx.db, wanted)
    if missing:
        raise Invalid(f"Unknown resource class in inventory for resource provider {uuid}: No such resource class {', '.join(missing)}.")
    inventories.require_sane(wanted, uuid, doing="update", empty=wire.at_least(ctx, 26))
    had = inventories.of(ctx.db, uuid)
    inventories.put(ctx.db, uuid, wanted, had)
    inventories.drop(ctx.db, uuid, [name for name in had if name not in wanted])
    providers.change(ctx.db, provider)
    return _all(ctx, request, provider)


@resource.delete("", rule=policy.INVENTORIES_DELETE, answers=204)
def clear(ctx: Context, uuid: str) -> None:
    """Remove all of a provider's inventories."""
    if not wire.at_least(ctx, 5):
        raise MethodNotAllowed(allowed=("GET", "POST", "PUT"))
    provider = providers.find(ctx.db, uuid)
    inventories.drop(ctx.db, uuid, list(inventories.of(ctx.db, uuid)))
    providers.change(ctx.db, provider)


@resource.get("/{resource_class}", rule=policy.INVENTORIES_SHOW)
def show(ctx: Context, uuid: str, resource_class: str, request: Request) -> Answer:
    """Show a provider's inventory of one class."""
    provider = providers.find(ctx.db, uuid)
    stock = ctx.db.get(Stock, uuid, resource_class)
    if stock is None:
        raise NotFound(f"No inventory of class {resource_class} for {uuid}")
    return _one(ctx, request, provider, stock, moment=stock.updated_at)


@resource.put("/{resource_class}", rule=policy.INVENTORIES_UPDATE)
def update(ctx: Context, uuid: str, resource_class: str, request: Request) -> Answer:
    """Change a provider's inventory of one class."""
    provider = providers.find(ctx.db, uuid)
    body = wire.read(request, _UPDATE)
    providers.expect_generation(provider, body["resource_provider_generation"])
    wanted = {resource_class: meant(body)}
    inventories.require_sane(wanted, uuid, doing="update", empty=wire.at_least(ctx, 26))
    stock = ctx.db.get(Stock, uuid, resource_class)
    if stock is None:
        raise Invalid(f"No inventory record with resource class for resource provider {uuid}: it has no {resource_class}.")
    inventories.put(ctx.db, uuid, wanted, {resource_class: stock})
    providers.change(ctx.db, provider)
    return _one(ctx, request, provider, msgspec.structs.replace(wanted[resource_class]))


@resource.delete("/{resource_class}", rule=policy.INVENTORIES_DELETE, answers=204)
def delete(ctx: Context, uuid: str, resource_class: str) -> None:
    """Remove a provider's inventory of one class."""
    provider = providers.find(ctx.db, uuid)
    if ctx.db.get(Stock, uuid, resource_class) is None:
        raise NotFound(f"No inventory of class {resource_class} found for delete: {uuid} has none.")
    inventories.drop(ctx.db, uuid, [resource_class])
    providers.change(ctx.db, provider)
