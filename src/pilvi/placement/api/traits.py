"""Traits: what a provider is like, in standard words and an operator's own."""

from __future__ import annotations

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.placement import names, policy
from pilvi.placement import picture as pictures
from pilvi.placement.api import schema, wire
from pilvi.placement.tables import CustomTrait

resource = Resource("/traits", since="1.6")

_QUERY = schema.obj({"name": {"type": "string"}, "associated": {"type": "string"}})


@resource.get("", rule=policy.TRAITS_LIST)
def index(ctx: Context, request: Request) -> Answer:
    """List traits: all, or those that the query names; with `associated`, those that providers (do not) have."""
    asked = wire.asked(request, _QUERY)
    rows = ctx.db.rows(sa.select(CustomTrait.c.name, CustomTrait.c.updated_at))
    found = sorted({*names.TRAITS, *(row[0] for row in rows)})
    if "name" in asked:
        kind, colon, value = asked["name"].partition(":")
        if not colon or kind not in ("in", "startswith"):
            raise Invalid(
                "Badly formatted name parameter. Expected name query string parameter in form: "
                f'?name=[in|startswith]:[name1,name2|prefix]. Got: "{asked["name"]}"'
            )
        wanted = set(value.split(","))
        found = [name for name in found if name in wanted] if kind == "in" else [name for name in found if name.startswith(value)]
    if "associated" in asked:
        if asked["associated"].lower() not in ("true", "false"):
            raise Invalid(f'The query parameter "associated" only accepts "true" or "false", not "{asked["associated"][:100]}".')
        had = frozenset().union(*(provider.traits for provider in pictures.look(ctx.db).providers.values()))
        yes = asked["associated"].lower() == "true"
        found = [name for name in found if (name in had) == yes]
    return wire.tell(ctx, request, {"traits": found})


@resource.get("/{name}", rule=policy.TRAITS_SHOW, answers=204)
def show(ctx: Context, name: str) -> Answer:
    """Tell whether a trait exists."""
    if name in names.TRAITS:
        return wire.timed(ctx, 204)
    found = ctx.db.get(CustomTrait, name)
    if found is None:
        raise NotFound(f"No such trait(s): {name}.")
    return wire.timed(ctx, 204, moment=found.updated_at)


@resource.put("/{name}", rule=policy.TRAITS_UPDATE, answers=201)
def ensure(ctx: Context, name: str, request: Request) -> Answer:
    """Have a trait of that name; it begins with CUSTOM_."""
    if not names.CUSTOM.match(name):
        raise Invalid(
            'The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix "CUSTOM_" '
            'and use following characters: "A"-"Z", "0"-"9" and "_"'
        )
    new = names.add(ctx.db, CustomTrait, name)
    return wire.timed(ctx, 201 if new else 204, headers={"Location": wire.url(request, f"/traits/{name}")})


@resource.delete("/{name}", rule=policy.TRAITS_DELETE, answers=204)
def delete(ctx: Context, name: str) -> None:
    """Delete a trait that no provider has."""
    if name in names.TRAITS:
        raise Invalid(f"Cannot delete standard trait {name}.")
    found = ctx.db.get(CustomTrait, name)
    if found is None:
        raise NotFound(f"No such trait(s): {name}.")
    if any(name in provider.traits for provider in pictures.look(ctx.db).providers.values()):
        raise Conflict(f"The trait {name} is in use by a resource provider.")
    ctx.db.remove(found)
