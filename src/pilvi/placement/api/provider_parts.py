"""What else belongs to a provider: its aggregates, traits, usages, and the allocations against it."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.context import Context
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.placement import policy
from pilvi.placement.api import schema, wire
from pilvi.placement.api.inventories import GENERATION
from pilvi.placement.errors import ConcurrentUpdate
from pilvi.placement.operations import inventories, providers
from pilvi.placement.tables import Allocation, Consumer, Provider

aggregates = Resource("/resource_providers/{uuid}/aggregates", tag="aggregates", since="1.1")
traits = Resource("/resource_providers/{uuid}/traits", tag="provider traits", since="1.6")
usages = Resource("/resource_providers/{uuid}/usages", tag="usages")
allocations = Resource("/resource_providers/{uuid}/allocations", tag="allocations")

_UUIDS = {"type": "array", "items": {"type": "string", "format": "uuid"}, "uniqueItems": True}
_AGGREGATES = schema.obj({"resource_provider_generation": GENERATION, "aggregates": _UUIDS}, required=("resource_provider_generation", "aggregates"))
_TRAIT = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[A-Z0-9_]+$"}
_TRAITS = schema.obj(
    {"resource_provider_generation": GENERATION, "traits": {"type": "array", "items": _TRAIT, "uniqueItems": True}},
    required=("traits", "resource_provider_generation"),
)


def _told_aggregates(ctx: Context, request: Request, provider: Provider) -> Answer:
    body: dict[str, Any] = {"aggregates": provider.aggregates}
    if wire.at_least(ctx, 19):
        body["resource_provider_generation"] = provider.generation
    return wire.tell(ctx, request, body)


@aggregates.get("", rule=policy.AGGREGATES_LIST)
def list_aggregates(ctx: Context, uuid: str, request: Request) -> Answer:
    """List the aggregates that a provider is in."""
    return _told_aggregates(ctx, request, providers.find(ctx.db, uuid))


@aggregates.put("", rule=policy.AGGREGATES_UPDATE)
def set_aggregates(ctx: Context, uuid: str, request: Request) -> Answer:
    """Set the aggregates that a provider is in."""
    provider = providers.find(ctx.db, uuid)
    aware = wire.at_least(ctx, 19)
    body = wire.read(request, _AGGREGATES if aware else _UUIDS)
    if aware:
        providers.expect_generation(provider, body["resource_provider_generation"])
    providers.set_aggregates(ctx.db, provider, body["aggregates"] if aware else body, bump=aware)
    return _told_aggregates(ctx, request, provider)


def _told_traits(ctx: Context, request: Request, provider: Provider) -> Answer:
    return wire.tell(ctx, request, {"resource_provider_generation": provider.generation, "traits": provider.traits})


@traits.get("", rule=policy.PROVIDER_TRAITS_LIST)
def list_traits(ctx: Context, uuid: str, request: Request) -> Answer:
    """List a provider's traits."""
    return _told_traits(ctx, request, providers.find(ctx.db, uuid))


@traits.put("", rule=policy.PROVIDER_TRAITS_UPDATE)
def set_traits(ctx: Context, uuid: str, request: Request) -> Answer:
    """Set a provider's traits."""
    body = wire.read(request, _TRAITS)
    provider = providers.find(ctx.db, uuid)
    if provider.generation != body["resource_provider_generation"]:
        raise ConcurrentUpdate("Resource provider's generation already changed. Please update the generation and try again.")
    providers.set_traits(ctx.db, provider, body["traits"])
    return _told_traits(ctx, request, provider)


@traits.delete("", rule=policy.PROVIDER_TRAITS_DELETE, answers=204)
def clear_traits(ctx: Context, uuid: str) -> None:
    """Take all traits from a provider."""
    providers.set_traits(ctx.db, providers.find(ctx.db, uuid), [])


@usages.get("", rule=policy.PROVIDER_USAGES)
def show_usages(ctx: Context, uuid: str, request: Request) -> Answer:
    """Show how much of a provider is used, class by class."""
    provider = providers.find(ctx.db, uuid)
    used = {name: one.used for name, one in inventories.of(ctx.db, uuid).items()}
    return wire.tell(ctx, request, {"resource_provider_generation": provider.generation, "usages": used})


@allocations.get("", rule=policy.PROVIDER_ALLOCATIONS_LIST)
def list_allocations(ctx: Context, uuid: str, request: Request) -> Answer:
    """List who uses how much of a provider."""
    provider = providers.find(ctx.db, uuid)
    rows = ctx.db.all(Allocation, Allocation.c.provider == uuid)
    told: dict[str, dict[str, Any]] = {}
    for one in rows:
        told.setdefault(one.consumer, {"resources": {}})["resources"][one.resource_class] = one.used
    if wire.at_least(ctx, 28):
        for consumer in ctx.db.by(Consumer, Consumer.c.uuid, told):
            told[consumer.uuid]["consumer_generation"] = consumer.generation
    body = {"allocations": told, "resource_provider_generation": provider.generation}
    return wire.tell(ctx, request, body, moment=max((one.updated_at for one in rows), default=None))


