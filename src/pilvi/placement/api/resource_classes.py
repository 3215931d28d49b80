"""Resource classes: the kinds of things that can be had, standard ones and an operator's own."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.http import Answer, Request, Resource
from pilvi.placement import names, policy
from pilvi.placement.api import schema, wire
from pilvi.placement.operations import providers
from pilvi.placement.tables import Allocation, CustomClass, Stock

resource = Resource("/resource_classes", since="1.2")

_NAME = {"type": "string", "pattern": r"^CUSTOM\_[A-Z0-9_]+$", "minLength": 1, "maxLength": 255}
_BODY = schema.obj({"name": _NAME}, required=("name",))


def _told(request: Request, name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": wire.place(request, f"/resource_classes/{name}")}]}


def _find(ctx: Context, name: str) -> CustomClass | None:
    """The custom class; None for a standard one; raises NotFound."""
    if names.is_standard_class(name):
        return None
    found = ctx.db.get(CustomClass, name)
    if found is None:
        raise NotFound(f"No such resource class: {name}.")
    return found


@resource.get("", rule=policy.CLASSES_LIST)
def index(ctx: Context, request: Request) -> Answer:
    """List all resource classes."""
    custom = [row.name for row in ctx.db.all(CustomClass, order=[CustomClass.c.name])]
    return wire.tell(ctx, request, {"resource_classes": [_told(request, name) for name in [*names.CLASSES, *custom]]})


@resource.post("", rule=policy.CLASSES_CREATE, answers=201)
def create(ctx: Context, request: Request) -> Answer:
    """Create a class; its name begins with CUSTOM_."""
    name = wire.read(request, _BODY)["name"]
    if not names.add(ctx.db, CustomClass, name):
        raise Conflict(f"Conflicting resource class already exists: {name}")
    return Answer(201, None, {"Location": wire.url(request, f"/resource_classes/{name}")})


@resource.get("/{name}", rule=policy.CLASSES_SHOW)
def show(ctx: Context, name: str, request: Request) -> Answer:
    """Show a class."""
    found = _find(ctx, name)
    return wire.tell(ctx, request, _told(request, name), moment=found.updated_at if found else None)


@resource.put("/{name}", rule=policy.CLASSES_UPDATE, until="1.6")
def rename(ctx: Context, name: str, request: Request) -> Answer:
    """Rename a class."""
    new = wire.read(request, _BODY)["name"]
    found = _find(ctx, name)
    if found is None:
        raise Invalid(f"Cannot update standard resource class {name}")
    if not names.add(ctx.db, CustomClass, new):
        raise Conflict(f"Resource class already exists: {new}")
    ctx.db.remove(found)
    for provider in {one.provider for one in ctx.db.all(Stock, Stock.c.resource_class == name)}:
        providers.touch(ctx.db, provider)
    ctx.db.update(Stock, Stock.c.resource_class == name, resource_class=new)
    ctx.db.update(Allocation, Allocation.c.resource_class == name, resource_class=new)
    return wire.tell(ctx, request, _told(request, new))


@resource.put("/{name}", rule=policy.CLASSES_UPDATE, since="1.7")
def ensure(ctx: Context, name: str, request: Request) -> Answer:
    """Have a class of that name."""
    found = schema.body({"name": name}, _BODY)
    if found:
        raise Invalid(found)
    new = names.add(ctx.db, CustomClass, name)
    return Answer(201 if new else 204, None, {"Location": wire.url(request, f"/resource_classes/{name}")})


@resource.delete("/{name}", rule=policy.CLASSES_DELETE, answers=204)
def delete(ctx: Context, name: str) -> None:
    """Delete a class that nobody has any of."""
    found = _find(ctx, name)
    if found is None:
        raise Invalid(f"Error in delete resource class: Cannot delete standard resource class {name}.")
    if ctx.db.one(Stock, Stock.c.resource_class == name) is not None:
        raise Conflict(f"Error in delete resource class: Class is in use in inventory: {name}.")
    ctx.db.remove(found)
