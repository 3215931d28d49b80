"""Allocations: what consumers use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.kernel.ids import is_uuid
from pilvi.placement import policy
from pilvi.placement.api import schema, wire
from pilvi.placement.operations import allocations
from pilvi.placement.operations.allocations import Claim
from pilvi.placement.tables import Allocation, Consumer, Provider

resource = Resource("/allocations")

UUID_KEY = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_RESOURCES: schema.Schema = schema.obj(patterns={"^[0-9A-Z_]+$": {"type": "integer", "minimum": 1}}, minProperties=1)
_OWNER = {"type": "string", "minLength": 1, "maxLength": 255}
_TYPE = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[A-Z0-9_]+$"}
_PROVIDERS = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "uuid"}}
_LISTED = {
    "type": "array",
    "minItems": 1,
    "items": schema.obj(
        {"resource_provider": schema.obj({"uuid": {"type": "string", "format": "uuid"}}, required=("uuid",)), "resources": _RESOURCES},
        required=("resource_provider", "resources"),
    ),
}


@lru_cache(maxsize=64)
def consumer_schema(minor: int, *, several: bool) -> schema.Schema:
    """The schema of what one consumer shall have, in version 1.`minor`; of `several`, or of the one in the path."""
    if minor < 12 and not several:
        allocations_: schema.Schema = _LISTED
    else:
        one = schema.obj({"generation": {"type": "integer"}, "resources": _RESOURCES}, required=("resources",))
        allocations_ = schema.obj(patterns={UUID_KEY: one})
        if minor < 28 and not several:
            allocations_["minProperties"] = 1
    properties: dict[str, Any] = {"allocations": allocations_}
    required = ["allocations"]
    if minor >= 8:
        properties |= {"project_id": _OWNER, "user_id": _OWNER}
        required += ["project_id", "user_id"]
    if minor >= 28:
        properties["consumer_generation"] = {"type": ["integer", "null"]}
        required.append("consumer_generation")
    if minor >= 34:
        properties["mappings"] = schema.obj(patterns={"^([a-zA-Z0-9_-]{1,64})?$": _PROVIDERS}, minProperties=1)
    if minor >= 38:
        properties["consumer_type"] = _TYPE
        required.append("consumer_type")
    return schema.obj(properties, required=tuple(required))


@lru_cache(maxsize=64)
def consumers_schema(minor: int, *, required: bool) -> schema.Schema:
    """The schema of several consumers' claims, by their uuids."""
    more: dict[str, Any] = {"minProperties": 1} if required else {}
    return schema.obj(patterns={UUID_KEY: consumer_schema(minor, several=True)}, **more)


def claim_of(ctx: Context, consumer: str, body: Mapping[str, Any]) -> Claim:
    """The claim that a body says."""
    given = body["allocations"]
    if isinstance(given, list):
        amounts: dict[str, dict[str, int]] = {}
        for one in given:
            amounts.setdefault(one["resource_provider"]["uuid"], {}).update(one["resources"])
    else:
        amounts = {provider: one["resources"] for provider, one in given.items()}
    settings = ctx.program.settings.placement
    return Claim(
        consumer=consumer,
        amounts={provider: {name: int(amount) for name, amount in resources.items()} for provider, resources in amounts.items()},
        project_id=body.get("project_id", settings.incomplete_consumer_project_id),
        user_id=body.get("user_id", settings.incomplete_consumer_user_id),
        type=body.get("consumer_type"),
        checked=wire.at_least(ctx, 28),
        expects=body.get("consumer_generation"),
    )


def _consumer(text: str) -> str:
    """The consumer's uuid with dashes; raises Invalid."""
    if not is_uuid(text):
        raise Invalid(f"Malformed consumer_uuid: {text[:100]}")
    return str(UUID(text))


@resource.post("", rule=policy.ALLOCATIONS_MANAGE, answers=204, since="1.13")
def replace_several(ctx: Context, request: Request) -> None:
    """Set the allocations of several consumers at once; an empty set takes all from one."""
    assert ctx.version is not None
    body = wire.read(request, consumers_schema(ctx.version.minor, required=True))
    allocations.replace(ctx.db, [claim_of(ctx, consumer, one) for consumer, one in body.items()])


@resource.get("/{consumer}", rule=policy.ALLOCATIONS_LIST)
def show(ctx: Context, consumer: str, request: Request) -> Answer:
    """Show what a consumer uses."""
    rows = ctx.db.all(Allocation, Allocation.c.consumer == consumer)
    if not rows:
        return wire.tell(ctx, request, {"allocations": {}})
    generations = {one.uuid: one.generation for one in ctx.db.by(Provider, Provider.c.uuid, [one.provider for one in rows])}
    told: dict[str, dict[str, Any]] = {}
    for one in rows:
        told.setdefault(one.provider, {"generation": generations.get(one.provider, 0), "resources": {}})["resources"][one.resource_class] = one.used
    body: dict[str, Any] = {"allocations": told}
    owner = ctx.db.get(Consumer, consumer)
    if owner is not None and wire.at_least(ctx, 12):
        body |= {"project_id": owner.project_id, "user_id": owner.user_id}
        if wire.at_least(ctx, 28):
            body["consumer_generation"] = owner.generation
        if wire.at_least(ctx, 38):
            body["consumer_type"] = owner.type or "unknown"
    return wire.tell(ctx, request, body, moment=max(one.updated_at for one in rows))


@resource.put("/{consumer}", rule=policy.ALLOCATIONS_UPDATE, answers=204)
def replace(ctx: Context, consumer: str, request: Request) -> None:
    """Set what a consumer uses."""
    assert ctx.version is not None
    consumer = _consumer(consumer)
    body = wire.read(request, consumer_schema(ctx.version.minor, several=False))
    allocations.replace(ctx.db, [claim_of(ctx, consumer, body)])


@resource.delete("/{consumer}", rule=policy.ALLOCATIONS_DELETE, answers=204)
def delete(ctx: Context, consumer: str) -> None:
    """Take all that a consumer uses from it."""
    allocations.require_any(allocations.remove(ctx.db, consumer), consumer)
