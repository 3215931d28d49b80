"""Resource providers: a host, a storage pool, a part of one; in trees."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from pilvi.kernel.context import Context
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.placement import picture as pictures
from pilvi.placement import policy
from pilvi.placement.api import schema, wire
from pilvi.placement.api.query import provider_filter
from pilvi.placement.operations import providers

resource_providers = Resource("/resource_providers")

_UUID = {"type": "string", "format": "uuid"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 200}
_PARENT = {"type": ["string", "null"], "format": "uuid"}
_CREATE = schema.obj({"name": _NAME, "uuid": _UUID}, required=("name",))
_CREATE_NESTED = schema.obj({"name": _NAME, "uuid": _UUID, "parent_provider_uuid": _PARENT}, required=("name",))
_UPDATE = schema.obj({"name": _NAME}, required=("name",))
_UPDATE_NESTED = schema.obj({"name": _NAME, "parent_provider_uuid": _PARENT}, required=("name",))
# what a provider's links lead to, and since which microversion
_LINKS = (("inventories", 0), ("usages", 0), ("aggregates", 1), ("traits", 6), ("allocations", 11))


_FORMS = (1, 6, 11, 14)  # microversions in which the view of a provider grew


class AProvider(Protocol):
    """What is told of a provider, from its row or from the picture."""

    uuid: str
    name: str
    generation: int
    parent: str | None
    root: str


def told(ctx: Context, request: Request, provider: Any) -> dict[str, Any]:
    """A provider as an answer shows it."""
    assert ctx.version is not None
    at = wire.place(request, f"/resource_providers/{provider.uuid}")
    minor = ctx.version.minor
    view = {
        "uuid": provider.uuid,
        "name": provider.name,
        "generation": provider.generation,
        "links": [{"rel": "self", "href": at}] + [{"rel": name, "href": f"{at}/{name}"} for name, since in _LINKS if minor >= since],
    }
    if minor >= 14:
        view["parent_provider_uuid"] = provider.parent
        view["root_provider_uuid"] = provider.root
    return view


def _listed(ctx: Context, request: Request, provider: pictures.Provider) -> bytes:
    """A provider as lists show it, written once for each state of the provider and each form."""
    assert ctx.version is not None
    form = f"listed {request.prefix} {sum(ctx.version.minor >= since for since in _FORMS)}"
    known = provider.kept.get(form)
    if known is None:
        known = provider.kept[form] = msgspec.json.encode(told(ctx, request, provider))
    return known


@resource_providers.get("", rule=policy.PROVIDERS_LIST)
def index(ctx: Context, request: Request) -> Answer:
    """List providers, all or those that fit the query."""
    fits = provider_filter(ctx, request)
    picture = pictures.look(ctx.db)
    found = fits(picture)
    moment = max((one.updated_at for one in found), default=None)
    body = b'{"resource_providers":[' + b",".join([_listed(ctx, request, one) for one in found]) + b"]}"
    return wire.tell(ctx, request, body, moment=moment)


@resource_providers.post("", rule=policy.PROVIDERS_CREATE, answers=201)
def create(ctx: Context, request: Request) -> Answer:
    """Create a provider."""
    body = wire.read(request, _CREATE_NESTED if wire.at_least(ctx, 14) else _CREATE)
    provider = providers.create(ctx.db, body["name"], body.get("uuid"), body.get("parent_provider_uuid"))
    headers = {"Location": wire.url(request, f"/resource_providers/{provider.uuid}")}
    if wire.at_least(ctx, 20):
        return wire.tell(ctx, request, told(ctx, request, provider), moment=provider.updated_at, headers=headers)
    return Answer(201, None, headers)


@resource_providers.get("/{uuid}", rule=policy.PROVIDERS_SHOW)
def show(ctx: Context, uuid: str, request: Request) -> Answer:
    """Show a provider."""
    provider = providers.find(ctx.db, uuid)
    return wire.tell(ctx, request, told(ctx, request, provider), moment=provider.updated_at)


@resource_providers.put("/{uuid}", rule=policy.PROVIDERS_UPDATE)
def update(ctx: Context, uuid: str, request: Request) -> Answer:
    """Rename a provider, or give it (since 1.37: another, or no) parent."""
    body = wire.read(request, _UPDATE_NESTED if wire.at_least(ctx, 14) else _UPDATE)
    provider = providers.find(ctx.db, uuid)
    if "parent_provider_uuid" in body:
        providers.move(ctx.db, provider, body["parent_provider_uuid"], freely=wire.at_least(ctx, 37))
    providers.rename(ctx.db, provider, body["name"])
    return wire.tell(ctx, request, told(ctx, request, provider), moment=provider.updated_at)


@resource_providers.delete("/{uuid}", rule=policy.PROVIDERS_DELETE, answers=204)
def delete(ctx: Context, uuid: str) -> None:
    """Delete a provider that has neither children nor allocations."""
    providers.delete(ctx.db, providers.find(ctx.db, uuid, doing=" for delete"))
