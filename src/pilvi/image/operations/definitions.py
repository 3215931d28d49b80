"""Metadata definitions: namespaces, and the objects, properties, tags and resource types in them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pilvi.image.tables import Association, Definition, Namespace
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Forbidden, Invalid, NotFound

RESOURCE_TYPES = ("OS::Cinder::Volume", "OS::Glance::Image", "OS::Nova::Aggregate", "OS::Nova::Flavor", "OS::Nova::Server", "OS::Trove::Instance")


def target(namespace: Namespace) -> dict[str, Any]:
    """What policy rules see of a namespace."""
    return {"project_id": namespace.owner, "tenant_id": namespace.owner, "owner": namespace.owner, "visibility": namespace.visibility}


def find(ctx: Context, name: str, rule: str = "") -> Namespace:
    """The namespace, if the caller may see it; raises NotFound.  What is in it is changed by one at a time."""
    namespace = ctx.db.get_to_change(Namespace, name)
    if namespace is None or not (ctx.is_admin or namespace.owner == ctx.project_id or namespace.visibility == "public"):
        raise NotFound(f"Metadata definition namespace={name[:80]} was not found.")
    ctx.allow(rule or ctx.rule, target(namespace))
    return namespace


def listed(ctx: Context, visibility: str | None, types: list[str]) -> list[Namespace]:
    """The namespaces that the caller may see."""
    where: list[Any] = []
    if not ctx.is_admin:
        where.append(sa.or_(Namespace.c.owner == ctx.project_id, Namespace.c.visibility == "public"))
    if visibility:
        where.append(Namespace.c.visibility == visibility)
    if types:
        where.append(Namespace.c.name.in_(sa.select(Association.c.namespace).where(Association.c.resource_type.in_(types))))
    return ctx.db.all(Namespace, *where, order=[Namespace.c.created_at.desc(), Namespace.c.name])


def write(ctx: Context, namespace: Namespace | None, said: dict[str, Any]) -> Namespace:
    """Create a namespace, or (given one) change it."""
    name = said.get("namespace")
    if not isinstance(name, str) or not 1 <= len(name) <= 80:
        raise Invalid("A namespace has a name of 1 to 80 characters.", field="namespace")
    values: dict[str, Any] = {field: said.get(field) for field in ("display_name", "description")}
    for field, value in values.items():
        if value is not None and (not isinstance(value, str) or len(value) > 500):
            raise Invalid(f"The {field} is a text of up to 500 characters.", field=field)
    values["visibility"], values["protected"] = said.get("visibility", "private"), said.get("protected", False)
    if values["visibility"] not in ("public", "private") or not isinstance(values["protected"], bool):
        raise Invalid("The visibility is public or private, and protected true or false.", field="visibility")
    if (namespace is None or namespace.name != name) and ctx.db.get(Namespace, name) is not None:
        raise Conflict(f"The metadata definition namespace={name} already exists.")
    now = clock.now()
    if namespace is None:
        owner = said.get("owner") or ctx.project_id
        made = ctx.db.insert(Namespace(name=name, owner=str(owner)[:64], created_at=now, updated_at=now, **values))
        for one in said.get("resource_type_associations") or []:
            associate(ctx, made, one)
        for kind in ("objects", "properties", "tags"):
            given = said.get(kind) or []
            for one in [{"name": key, **value} for key, value in given.items()] if isinstance(given, dict) else given:
                put(ctx, made, kind, one)
        return made
    before = namespace.name
    ctx.db.update(Namespace, Namespace.c.name == before, name=name, updated_at=now, **values)
    for kind in (Definition, Association):
        if name != before:
            ctx.db.update(kind, kind.c.namespace == before, namespace=name)
    found = ctx.db.get(Namespace, name)
    assert found is not None
    return found


def delete(ctx: Context, namespace: Namespace) -> None:
    """Delete a namespace with all that is in it."""
    require_free(namespace)
    for kind in (Definition, Association):
        ctx.db.delete(kind, kind.c.namespace == namespace.name)
    ctx.db.remove(namespace)


def require_free(namespace: Namespace) -> None:
    """Raise Forbidden for a protected namespace."""
    if namespace.protected:
        raise Forbidden(f"Namespace {namespace.name} is protected and cannot be deleted.")


def of(ctx: Context, namespace: Namespace, kind: str) -> list[Definition]:
    """The namespace's definitions of one kind."""
    where = (Definition.c.namespace == namespace.name, Definition.c.kind == kind)
    return ctx.db.all(Definition, *where, order=[Definition.c.created_at, Definition.c.name])


def one(ctx: Context, namespace: Namespace, kind: str, name: str) -> Definition:
    """One definition; raises NotFound."""
    found = ctx.db.get(Definition, namespace.name, kind, name)
    if found is None:
        raise NotFound(f"The metadata definition {_SINGULAR[kind]} {name[:80]} was not found in the namespace {namespace.name}.")
    return found


def put(ctx: Context, namespace: Namespace, kind: str, said: Any, before: Definition | None = None) -> Definition:
    """Add a definition, or (given one) replace it."""
    name = said.get("name") if isinstance(said, dict) else None
    if not isinstance(name, str) or not 1 <= len(name) <= 80:
        raise Invalid(f"The metadata definition {_SINGULAR[kind]} has a name of 1 to 80 characters.", field="name")
    if kind == "properties":
        for field in ("title", "type"):
            if not isinstance(said.get(field), str):
                raise Invalid(f"A property has a {field}.", field=field)
    if (before is None or before.name != name) and ctx.db.get(Definition, namespace.name, kind, name) is not None:
        raise Conflict(f"A metadata definition {_SINGULAR[kind]} with name={name} already exists in namespace={namespace.name}.")
    now = clock.now()
    if before is not None:
        ctx.db.remove(before)
    details = {key: value for key, value in said.items() if key not in ("name", "created_at", "updated_at", "self", "schema")}
    row = Definition(
        namespace=namespace.name, kind=kind, name=name, told=details, created_at=before.created_at if before else now, updated_at=now
    )
    return ctx.db.insert(row)


def associate(ctx: Context, namespace: Namespace, said: Any) -> Association:
    """Mean the namespace for a type of resource."""
    name = said.get("name") if isinstance(said, dict) else None
    if not isinstance(name, str) or not 1 <= len(name) <= 80:
        raise Invalid("A type of resource has a name of 1 to 80 characters.", field="name")
    now = clock.now()
    row = Association(
        namespace=namespace.name, resource_type=name, prefix=said.get("prefix"), properties_target=said.get("properties_target"),
        created_at=now, updated_at=now,
    )  # fmt: skip
    return ctx.db.put(row)


def associations(ctx: Context, namespaces: list[str]) -> dict[str, list[Association]]:
    """namespace -> the types of resources that it is meant for."""
    found: dict[str, list[Association]] = {}
    for row in ctx.db.by(Association, Association.c.namespace, namespaces):
        found.setdefault(row.namespace, []).append(row)
    return found


def dissociate(ctx: Context, namespace: Namespace, resource_type: str) -> None:
    """Mean the namespace for a type of resource no more."""
    require_free(namespace)
    if not ctx.db.delete(Association, Association.c.namespace == namespace.name, Association.c.resource_type == resource_type):
        raise NotFound(f"The association of {resource_type[:80]} with the namespace {namespace.name} was not found.")


_SINGULAR = {"objects": "object", "properties": "property", "tags": "tag"}
