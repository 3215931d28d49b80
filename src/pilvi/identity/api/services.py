"""The services of the catalog and their endpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilvi.identity.api.lists import Page, kept, listed
from pilvi.identity.dialect import root
from pilvi.identity.operations.catalog import check_template
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, need
from pilvi.identity.tables import CatalogService, Endpoint, Limit, Region, RegisteredLimit
from pilvi.identity.tables.catalog import ProjectEndpoint
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule


def _rules(one: str) -> dict[str, Rule]:
    """Rights to a kind of thing in the catalog."""
    return {
        verb: Rule(f"identity:{verb}_{one}{'s' * (verb == 'list')}", ADMIN if verb in ("create", "update", "delete") else ADMIN_OR_SYSTEM_READER,
                   f"{verb.capitalize()} {'services' if one == 'service' else 'endpoints'} of the catalog.")
        for verb in ("get", "list", "create", "update", "delete")
    }  # fmt: skip


SERVICE, ENDPOINT = _rules("service"), _rules("endpoint")

services = Resource("/v3/services")
endpoints = Resource("/v3/endpoints")

Word255 = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Interface = Literal["public", "internal", "admin"]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048, pattern=r"^[a-zA-Z0-9+.-]+:.+$")]


class CreateService(Body, extra=True):
    """A new service.  Other attributes are kept."""

    type: Word255
    name: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    enabled: bool = True


class UpdateService(Body, extra=True):
    """What is to be changed of a service."""

    type: Word255 | Given = UNSET
    name: Annotated[str, msgspec.Meta(max_length=255)] | Given | None = UNSET
    enabled: bool | Given = UNSET


class CreateEndpoint(Body, extra=True):
    """A new endpoint.  `region` is the older word for region_id: such a region is made.  Other attributes are kept."""

    service_id: str
    interface: Interface
    url: Url
    region_id: str | None = None
    region: str | None = None
    enabled: bool = True


class UpdateEndpoint(Body, extra=True):
    """What is to be changed of an endpoint."""

    service_id: str | Given = UNSET
    interface: Interface | Given = UNSET
    url: Url | Given = UNSET
    region_id: str | Given | None = UNSET
    region: str | Given | None = UNSET
    enabled: bool | Given = UNSET


class ServicesQuery(Page, extra=True):
    """Which services."""

    name: str | None = None
    type: str | None = None


class EndpointsQuery(Page, extra=True):
    """Which endpoints."""

    service_id: str | None = None
    interface: str | None = None
    region_id: str | None = None


def service_view(ctx: Context, row: CatalogService) -> dict[str, Any]:
    """A service."""
    view = {**row.extra, "id": row.id, "type": row.type, "enabled": row.enabled, "links": {"self": f"{root(ctx.base_url)}/v3/services/{row.id}"}}
    if row.name:
        view["name"] = row.name
    return view


def endpoint_view(ctx: Context, row: Endpoint) -> dict[str, Any]:
    """An endpoint."""
    return {
        **row.extra, "id": row.id, "interface": row.interface, "service_id": row.service_id, "region_id": row.region_id,
        "region": row.region_id, "url": row.url, "enabled": row.enabled, "links": {"self": f"{root(ctx.base_url)}/v3/endpoints/{row.id}"},
    }  # fmt: skip


@services.post("", rule=SERVICE["create"], answers=201, out="service")
def create_service(ctx: Context, service: CreateService, request: Request) -> dict[str, Any]:
    """Add a service to the catalog."""
    extra = kept(request, "service", CreateService)
    row = CatalogService(id=new_hex(), type=service.type, name=service.name or "", enabled=service.enabled, extra=extra)
    return service_view(ctx, ctx.db.insert(row))


@services.get("", rule=SERVICE["list"], out="services")
def list_services(ctx: Context, query: ServicesQuery, request: Request) -> Listing:
    """List services."""
    return listed(ctx, request, query, CatalogService, view=service_view)


@services.get("/{service_id}", rule=SERVICE["get"], out="service")
def show_service(ctx: Context, service_id: str) -> dict[str, Any]:
    """Show a service."""
    return service_view(ctx, need_service(ctx, service_id))


@services.patch("/{service_id}", rule=SERVICE["update"], out="service")
def update_service(ctx: Context, service_id: str, service: UpdateService, request: Request) -> dict[str, Any]:
    """Change a service."""
    row = need_service(ctx, service_id)
    changes: dict[str, Any] = {name: getattr(service, name) for name in ("type", "enabled") if getattr(service, name) is not UNSET}
    if service.name is not UNSET:
        changes["name"] = service.name or ""
    return service_view(ctx, ctx.db.change(row, **changes, extra=row.extra | kept(request, "service", UpdateService)))


@services.delete("/{service_id}", rule=SERVICE["delete"], answers=204)
def delete_service(ctx: Context, service_id: str) -> None:
    """Take a service out of the catalog, with its endpoints and limits."""
    row = need(ctx.db.get_to_change(CatalogService, service_id), "Service", service_id)
    for endpoint in ctx.db.lock_all(Endpoint, Endpoint.c.service_id == service_id):
        _forget(ctx, endpoint)
    for limit in ctx.db.lock_all(RegisteredLimit, RegisteredLimit.c.service_id == service_id):
        ctx.db.delete(Limit, Limit.c.registered_limit_id == limit.id)
        ctx.db.remove(limit)
    ctx.db.remove(row)


@endpoints.post("", rule=ENDPOINT["create"], answers=201, out="endpoint")
def create_endpoint(ctx: Context, endpoint: CreateEndpoint, request: Request) -> dict[str, Any]:
    """Add an endpoint to a service."""
    check_template(endpoint.url)
    _need_service_of(ctx, endpoint.service_id)
    row = Endpoint(
        id=new_hex(), service_id=endpoint.service_id, interface=endpoint.interface, url=endpoint.url, enabled=endpoint.enabled,
        region_id=_region(ctx, endpoint.region_id, endpoint.region), extra=kept(request, "endpoint", CreateEndpoint),
    )  # fmt: skip
    return endpoint_view(ctx, ctx.db.insert(row))


@endpoints.get("", rule=ENDPOINT["list"], out="endpoints")
def list_endpoints(ctx: Context, query: EndpointsQuery, request: Request) -> Listing:
    """List endpoints."""
    return listed(ctx, request, query, Endpoint, view=endpoint_view)


@endpoints.get("/{endpoint_id}", rule=ENDPOINT["get"], out="endpoint")
def show_endpoint(ctx: Context, endpoint_id: str) -> dict[str, Any]:
    """Show an endpoint."""
    return endpoint_view(ctx, need_endpoint(ctx, endpoint_id))


@endpoints.patch("/{endpoint_id}", rule=ENDPOINT["update"], out="endpoint")
def update_endpoint(ctx: Context, endpoint_id: str, endpoint: UpdateEndpoint, request: Request) -> dict[str, Any]:
    """Change an endpoint."""
    row = need_endpoint(ctx, endpoint_id)
    plain = ("service_id", "interface", "url", "enabled")
    changes: dict[str, Any] = {name: getattr(endpoint, name) for name in plain if getattr(endpoint, name) is not UNSET}
    if "url" in changes:
        check_template(changes["url"])
    if "service_id" in changes:
        _need_service_of(ctx, changes["service_id"])
    if endpoint.region_id is not UNSET or endpoint.region is not UNSET:
        changes["region_id"] = _region(ctx, endpoint.region_id or None, endpoint.region or None)
    return endpoint_view(ctx, ctx.db.change(row, **changes, extra=row.extra | kept(request, "endpoint", UpdateEndpoint)))


@endpoints.delete("/{endpoint_id}", rule=ENDPOINT["delete"], answers=204)
def delete_endpoint(ctx: Context, endpoint_id: str) -> None:
    """Delete an endpoint."""
    _forget(ctx, need(ctx.db.get_to_change(Endpoint, endpoint_id), "Endpoint", endpoint_id))


def need_service(ctx: Context, service_id: str) -> CatalogService:
    """The service of that id; raises NotFound."""
    return need(ctx.db.get(CatalogService, service_id), "Service", service_id)


def need_endpoint(ctx: Context, endpoint_id: str) -> Endpoint:
    """The endpoint of that id; raises NotFound."""
    return need(ctx.db.get(Endpoint, endpoint_id), "Endpoint", endpoint_id)


def _forget(ctx: Context, endpoint: Endpoint) -> None:
    ctx.db.delete(ProjectEndpoint, ProjectEndpoint.c.endpoint_id == endpoint.id)
    ctx.db.remove(endpoint)


def _need_service_of(ctx: Context, service_id: str) -> None:
    if ctx.db.get_to_build_on(CatalogService, service_id) is None:
        raise Invalid(f"There is no service {service_id}.", field="service_id")


def _region(ctx: Context, region_id: str | None, legacy: str | None) -> str | None:
    """The region of an endpoint: one that is there, or, by its older name, one that is made."""
    if region_id is not None:
        if ctx.db.get_to_build_on(Region, region_id) is None:
            raise Invalid(f"There is no region {region_id}.", field="region_id")
        return region_id
    if legacy is not None and ctx.db.get_to_build_on(Region, legacy) is None:
        ctx.db.insert(Region(id=need_short(legacy)))
    return legacy


def need_short(region_id: str) -> str:
    """A region's id is no longer than 255 letters, and not empty."""
    if not 0 < len(region_id) <= 255:
        raise Invalid("A region's id has 1 to 255 letters.", field="region")
    return region_id
