"""OpenAPI: each service's document, made from the same declarations that answer its requests."""

from __future__ import annotations

import re
from typing import Any, get_type_hints

import msgspec

from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.resource import Listing, Route
from pilvi.kernel.http.shape import NEWEST, OLDEST, REQUIRED, Shape, fields
from pilvi.kernel.service import Service

_VARIABLE = re.compile(r"\{([^}:]+)(:rest)?\}")


def document(service: Service, version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of one service."""
    routes = [route for resource in service.resources for route in resource.routes]
    shapes = [route.body for route in routes if route.body is not None] + [_answer(route) for route in routes if _answer(route) is not None]
    schemas, components = msgspec.json.schema_components(_plain(shapes), ref_template="#/components/schemas/{name}")
    known = dict(zip([repr(shape) for shape in _plain(shapes)], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        place = paths.setdefault(_VARIABLE.sub(r"{\1}", route.path) or "/", {})
        method = route.method.lower()
        told = _operation(route, known)
        if method in place:
            _merge(place[method], told)
        else:
            place[method] = told
    for shape in {one for listed in shapes for one in _shapes(listed)}:
        _annotate(components, shape)
    info = {"title": f"Pilvi {service.name} ({service.title})", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}}
    versions = service.dialect.versions
    if versions is not None:
        info["x-openstack-microversions"] = {"min": str(versions.lowest), "max": str(versions.highest)}
    return {
        "openapi": "3.1.0",
        "info": info,
        "servers": [{"url": service.path}],
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
    }


def _operation(route: Route, known: dict[str, Any]) -> dict[str, Any]:
    words = (route.handler.__doc__ or route.handler.__name__.replace("_", " ")).strip()
    told: dict[str, Any] = {
        "operationId": f"{route.method.lower()}-{re.sub(r'[^A-Za-z0-9]+', '-', route.path + '-' + route.action).strip('-')}",
        "summary": words.splitlines()[0],
        "tags": [route.tag],
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name, _ in _VARIABLE.findall(route.path)],
        "responses": {str(route.answers): {"description": "done"}, "default": {"description": "an error, in the service's form"}},
    }
    if len(words.splitlines()) > 1:
        told["description"] = words
    if route.query is not None:
        for field in fields(route.query):
            needed = field.default is REQUIRED and field.factory is None
            told["parameters"].append({"name": field.wire, "in": "query", "required": needed, "schema": {}})
    if route.body is not None:
        schema = known.get(repr(_plain([route.body])[0]), {})
        told["requestBody"] = {"content": {"application/json": {"schema": _wrapped(schema, route.envelope or "")}}}
    answer = _answer(route)
    if answer is not None:
        schema = known.get(repr(_plain([answer])[0]), {})
        if _is_list(route):
            schema = {"type": "array", "items": schema}
        told["responses"][str(route.answers)]["content"] = {"application/json": {"schema": _wrapped(schema, route.out)}}
    if route.rule is not None:
        told["x-openstack-policy"] = route.rule.name
    else:
        told["security"] = []
    if route.since != OLDEST or route.until != NEWEST:
        told["x-openstack"] = {
            **({"min-ver": str(route.since)} if route.since != OLDEST else {}), **({"max-ver": str(route.until)} if route.until != NEWEST else {})
        }  # fmt: skip
    return told


def _merge(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Several actions, or several versions, of one method and path."""
    schema = second.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if schema is not None:
        slot = first.setdefault("requestBody", {"content": {"application/json": {"schema": {"oneOf": []}}}})["content"]["application/json"]
        if "oneOf" not in slot["schema"]:
            slot["schema"] = {"oneOf": [slot["schema"]]}
        slot["schema"]["oneOf"].append(schema)
    for status, told in second["responses"].items():
        first["responses"].setdefault(status, told)


def _wrapped(schema: dict[str, Any], envelope: str) -> dict[str, Any]:
    return {"type": "object", "required": [envelope], "properties": {envelope: schema}} if envelope else schema


def _answer(route: Route) -> Any:
    """The shape of an answer, or None where the declaration does not say one."""
    told = get_type_hints(route.handler).get("return")
    return None if told in (None, type(None), Answer, Listing, Any) else told


def _is_list(route: Route) -> bool:
    return get_type_hints(route.handler).get("return") is Listing


def _plain(shapes: list[Any]) -> list[Any]:
    """Bodies and views as msgspec describes them."""
    return [Any if shape is Any else shape for shape in shapes]


def _shapes(hint: Any) -> set[type[Shape]]:
    from pilvi.kernel.http.resource import shapes_in

    found = shapes_in(hint)
    for shape in list(found):
        for field in fields(shape):
            found |= shapes_in(field.hint)
    return found


def _annotate(components: dict[str, Any], shape: type[Shape]) -> None:
    """Say of each field since and until which version it lives."""
    properties = components.get(shape.__name__, {}).get("properties", {})
    for field in fields(shape):
        schema = properties.get(field.wire)
        if schema is None or (field.spec.since == OLDEST and field.spec.until == NEWEST):
            continue
        told = {}
        if field.spec.since != OLDEST:
            told["min-ver"] = str(field.spec.since)
        if field.spec.until != NEWEST:
            told["max-ver"] = str(field.spec.until)
        schema["x-openstack"] = told
