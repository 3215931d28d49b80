"""Metadata definitions: what properties mean."""

from __future__ import annotations

from typing import Any

from pilvi.image import policy
from pilvi.image.operations import definitions
from pilvi.image.tables import Association, Definition, Namespace
from pilvi.kernel.clock import iso
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid
from pilvi.kernel.http import Query, Resource

namespaces = Resource("/v2/metadefs/namespaces", tag="metadefs")
types = Resource("/v2/metadefs", tag="metadefs")


def _told(namespace: Namespace, associated: list[Association]) -> dict[str, Any]:
    view: dict[str, Any] = {
        "namespace": namespace.name, "visibility": namespace.visibility, "protected": namespace.protected, "owner": namespace.owner,
        "created_at": iso(namespace.created_at), "updated_at": iso(namespace.updated_at), "self": f"/v2/metadefs/namespaces/{namespace.name}",
        "schema": "/v2/schemas/metadefs/namespace",
    }  # fmt: skip
    view |= {name: value for name in ("display_name", "description") if (value := getattr(namespace, name)) is not None}
    if associated:
        view["resource_type_associations"] = [_told_type(one) for one in associated]
    return view


def _told_type(one: Association) -> dict[str, Any]:
    view: dict[str, Any] = {"name": one.resource_type, "created_at": iso(one.created_at), "updated_at": iso(one.updated_at)}
    return view | {name: value for name in ("prefix", "properties_target") if (value := getattr(one, name)) is not None}


def _told_one(one: Definition) -> dict[str, Any]:
    view: dict[str, Any] = {"name": one.name, **one.told}
    if one.kind == "properties":
        return view
    kind = {"objects": "object", "tags": "tag"}[one.kind]
    view |= {"created_at": iso(one.created_at), "updated_at": iso(one.updated_at), "schema": f"/v2/schemas/metadefs/{kind}"}
    if one.kind == "objects":
        view["self"] = f"/v2/metadefs/namespaces/{one.namespace}/objects/{one.name}"
    return view


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Invalid("The body must be a JSON object.")
    return body


class NamespacesQuery(Query, extra=True):
    """Which namespaces."""

    visibility: str | None = None
    resource_types: str | None = None


@namespaces.get("", rule=policy.GET_NAMESPACES)
def index(ctx: Context, query: NamespacesQuery) -> dict[str, Any]:
    """List namespaces."""
    found = definitions.listed(ctx, query.visibility, query.resource_types.split(",") if query.resource_types else [])
    associated = definitions.associations(ctx, [one.name for one in found])
    return {
        "namespaces": [_told(one, associated.get(one.name, [])) for one in found],
        "first": "/v2/metadefs/namespaces",
        "schema": "/v2/schemas/metadefs/namespaces",
    }


@namespaces.post("", rule=policy.ADD_NAMESPACE, answers=201)
def create(ctx: Context, body: Any) -> dict[str, Any]:
    """Create a namespace."""
    made = definitions.write(ctx, None, _object(body))
    return _told(made, definitions.associations(ctx, [made.name]).get(made.name, []))


@namespaces.get("/{namespace}", rule=policy.GET_NAMESPACE, precheck=False)
def show(ctx: Context, namespace: str) -> dict[str, Any]:
    """Show a namespace with all that is in it."""
    found = definitions.find(ctx, namespace)
    view = _told(found, definitions.associations(ctx, [found.name]).get(found.name, []))
    if objects := definitions.of(ctx, found, "objects"):
        view["objects"] = [_told_one(one) for one in objects]
    if properties := definitions.of(ctx, found, "properties"):
        view["properties"] = {one.name: one.told for one in properties}
    if tags := definitions.of(ctx, found, "tags"):
        view["tags"] = [{"name": one.name} for one in tags]
    return view


@namespaces.put("/{namespace}", rule=policy.MODIFY_NAMESPACE, precheck=False)
def update(ctx: Context, namespace: str, body: Any) -> dict[str, Any]:
    """Change a namespace."""
    changed = definitions.write(ctx, definitions.find(ctx, namespace), _object(body))
    return _told(changed, definitions.associations(ctx, [changed.name]).get(changed.name, []))


@namespaces.delete("/{namespace}", rule=policy.DELETE_NAMESPACE, precheck=False, answers=204)
def delete(ctx: Context, namespace: str) -> None:
    """Delete a namespace."""
    definitions.delete(ctx, definitions.find(ctx, namespace))


# -- types of resources ------------------------------------------------------------------------------


@types.get("/resource_types", rule=policy.LIST_TYPES)
def list_types(ctx: Context) -> dict[str, Any]:
    """List the types of resources that there are."""
    moment = iso(0)
    return {"resource_types": [{"name": name, "created_at": moment, "updated_at": moment} for name in definitions.RESOURCE_TYPES]}


@namespaces.get("/{namespace}/resource_types", rule=policy.GET_TYPE, precheck=False)
def list_associations(ctx: Context, namespace: str) -> dict[str, Any]:
    """List the types of resources that a namespace is meant for."""
    found = definitions.find(ctx, namespace)
    return {"resource_type_associations": [_told_type(one) for one in definitions.associations(ctx, [found.name]).get(found.name, [])]}


@namespaces.post("/{namespace}/resource_types", rule=policy.ADD_TYPE, precheck=False, answers=201)
def associate(ctx: Context, namespace: str, body: Any) -> dict[str, Any]:
    """Mean a namespace for a type of resource."""
    return _told_type(definitions.associate(ctx, definitions.find(ctx, namespace), body))


@namespaces.delete("/{namespace}/resource_types/{name}", rule=policy.REMOVE_TYPE, precheck=False, answers=204)
def dissociate(ctx: Context, namespace: str, name: str) -> None:
    """Mean a namespace for a type of resource no more."""
    definitions.dissociate(ctx, definitions.find(ctx, namespace), name)


# -- objects, properties and tags: the same verbs for each ----------------------------------------------


def _declare(kind: str) -> None:
    """Declare the routes of one kind of definition."""

    @namespaces.get(f"/{{namespace}}/{kind}", rule=policy.GET_ALL[kind], precheck=False)
    def list_all(ctx: Context, namespace: str) -> dict[str, Any]:
        found = [_told_one(one) for one in definitions.of(ctx, definitions.find(ctx, namespace), kind)]
        at = f"/v2/metadefs/namespaces/{namespace}/{kind}"
        if kind == "properties":
            return {"properties": {one.pop("name"): one for one in found}}
        return {kind: found, "first": at, "schema": f"/v2/schemas/metadefs/{kind}"}

    @namespaces.get(f"/{{namespace}}/{kind}/{{name}}", rule=policy.GET_ONE[kind], precheck=False)
    def show_one(ctx: Context, namespace: str, name: str) -> dict[str, Any]:
        return _told_one(definitions.one(ctx, definitions.find(ctx, namespace), kind, name))

    @namespaces.put(f"/{{namespace}}/{kind}/{{name}}", rule=policy.MODIFY_ONE[kind], precheck=False)
    def change_one(ctx: Context, namespace: str, name: str, body: Any) -> dict[str, Any]:
        found = definitions.find(ctx, namespace)
        return _told_one(definitions.put(ctx, found, kind, body, before=definitions.one(ctx, found, kind, name)))

    @namespaces.delete(f"/{{namespace}}/{kind}/{{name}}", rule=policy.REMOVE_ONE[kind], precheck=False, answers=204)
    def delete_one(ctx: Context, namespace: str, name: str) -> None:
        found = definitions.find(ctx, namespace)
        definitions.require_free(found)
        ctx.db.remove(definitions.one(ctx, found, kind, name))

    list_all.__doc__ = f"List a namespace's {kind}."
    show_one.__doc__ = f"Show one of a namespace's {kind}."
    change_one.__doc__ = f"Change one of a namespace's {kind}."
    delete_one.__doc__ = f"Delete one of a namespace's {kind}."


for _kind in ("objects", "properties", "tags"):
    _declare(_kind)


@namespaces.post("/{namespace}/objects", rule=policy.ADD_ONE["objects"], precheck=False, answers=201)
def create_object(ctx: Context, namespace: str, body: Any) -> dict[str, Any]:
    """Add an object to a namespace."""
    return _told_one(definitions.put(ctx, definitions.find(ctx, namespace), "objects", body))


@namespaces.post("/{namespace}/properties", rule=policy.ADD_ONE["properties"], precheck=False, answers=201)
def create_property(ctx: Context, namespace: str, body: Any) -> dict[str, Any]:
    """Add a property to a namespace."""
    return _told_one(definitions.put(ctx, definitions.find(ctx, namespace), "properties", body))


@namespaces.post("/{namespace}/tags/{name}", rule=policy.ADD_ONE["tags"], precheck=False, answers=201)
def create_tag(ctx: Context, namespace: str, name: str) -> dict[str, Any]:
    """Add a tag to a namespace."""
    return _told_one(definitions.put(ctx, definitions.find(ctx, namespace), "tags", {"name": name}))


@namespaces.post("/{namespace}/tags", rule=policy.ADD_TAGS, precheck=False, answers=201)
def set_tags(ctx: Context, namespace: str, body: Any) -> dict[str, Any]:
    """Set all tags of a namespace."""
    found = definitions.find(ctx, namespace)
    given = _object(body).get("tags")
    if not isinstance(given, list):
        raise Invalid("The tags are a list.", field="tags")
    names = [one.get("name") if isinstance(one, dict) else None for one in given]
    if len(set(names)) < len(names):
        raise Conflict("A tag is named twice.")
    ctx.db.delete(Definition, Definition.c.namespace == found.name, Definition.c.kind == "tags")
    return {"tags": [{"name": definitions.put(ctx, found, "tags", one).name} for one in given]}


def _delete_all(ctx: Context, namespace: str, kind: str) -> None:
    found = definitions.find(ctx, namespace)
    definitions.require_free(found)
    ctx.db.delete(Definition, Definition.c.namespace == found.name, Definition.c.kind == kind)


@namespaces.delete("/{namespace}/tags", rule=policy.REMOVE_TAGS, precheck=False, answers=204)
def delete_tags(ctx: Context, namespace: str) -> None:
    """Delete all tags of a namespace."""
    _delete_all(ctx, namespace, "tags")


@namespaces.delete("/{namespace}/objects", rule=policy.DELETE_NAMESPACE, precheck=False, answers=204)
def delete_objects(ctx: Context, namespace: str) -> None:
    """Delete all objects of a namespace."""
    _delete_all(ctx, namespace, "objects")


@namespaces.delete("/{namespace}/properties", rule=policy.DELETE_NAMESPACE, precheck=False, answers=204)
def delete_properties(ctx: Context, namespace: str) -> None:
    """Delete all properties of a namespace."""
    _delete_all(ctx, namespace, "properties")
