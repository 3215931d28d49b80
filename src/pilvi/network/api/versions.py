"""Which versions and extensions this API has."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.http.resource import Resource
from pilvi.network.api.collection import answer
from pilvi.network.api.extensions import EXTENSIONS
from pilvi.network.errors import ExtensionNotFound
from pilvi.network.policy import rule

root = Resource("", tag="versions")
v2 = Resource("/v2.0", tag="versions")
extensions = Resource("/v2.0/extensions", tag="extensions")
READ = rule("get_availability_zone")
_NAMES = ("networks", "subnets", "ports", "routers", "floatingips", "security-groups", "security-group-rules", "subnetpools", "agents", "quotas")


def _url(request: Request, path: str) -> str:
    return f"{request.base_url}{request.prefix}{path}"


@root.get("/", rule=None)
def versions(request: Request) -> Answer:
    """The versions of this API."""
    told = {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": _url(request, "/v2.0/")}]}
    return answer({"versions": [told]})


@v2.get("", rule=None)
def version(request: Request) -> Answer:
    """The resources of version 2.0."""
    resources = [
        {"name": name.rstrip("s"), "collection": name, "links": [{"rel": "self", "href": _url(request, f"/v2.0/{name}")}]} for name in _NAMES
    ]
    return answer({"resources": resources})


def _view(alias: str) -> dict[str, Any]:
    name, description = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": description, "updated": "2026-01-01T00:00:00-00:00", "links": []}


@extensions.get("", rule=READ)
def index(ctx: Context) -> Answer:
    """List the extensions that work here."""
    return answer({"extensions": [_view(alias) for alias in sorted(EXTENSIONS)]})


@extensions.get("/{alias}", rule=READ)
def show(ctx: Context, alias: str) -> Answer:
    """Show one extension."""
    if alias not in EXTENSIONS:
        raise ExtensionNotFound(alias)
    return answer({"extension": _view(alias)})
