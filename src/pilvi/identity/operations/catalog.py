"""The catalog as clients get it: each service with its endpoints, addresses filled in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from pilvi.identity.tables import CatalogService, Endpoint
from pilvi.identity.tables.catalog import EndpointGroup, ProjectEndpoint, ProjectEndpointGroup
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Invalid

if TYPE_CHECKING:
    from pilvi.identity.memory import Recall

_BLANK = re.compile(r"[$%]\(([^)]*)\)s")
BLANKS = ("project_id", "tenant_id", "user_id")


class Catalog(msgspec.Struct):
    """The enabled services and endpoints; `alike` when every scope gets the same."""

    services: list[dict[str, Any]]
    templated: bool  # some address has blanks to fill in
    filtered: bool  # some project sees only some endpoints

    @property
    def alike(self) -> bool:
        return not self.templated and not self.filtered


def check_template(url: str) -> None:
    """Raise Invalid for an address with blanks that nothing can fill in."""
    for name in _BLANK.findall(url):
        if name not in BLANKS:
            raise Invalid(f"The URL's $({name})s is not known; {', '.join(BLANKS)} are.", field="url")
    if re.search(r"[$%]\((?![^)]*\)s)", url):
        raise Invalid("The URL has a blank that isn't of the form $(name)s.", field="url")


def catalog(tx: Transaction, recall: Recall) -> Catalog:
    """All of it, blanks not filled in; remembered."""
    if recall.catalog is None:
        by_service: dict[str, list[dict[str, Any]]] = {}
        for one in tx.all(Endpoint, Endpoint.c.enabled, order=[Endpoint.c.id]):
            told = {"id": one.id, "interface": one.interface, "region_id": one.region_id, "url": one.url, "region": one.region_id}
            by_service.setdefault(one.service_id, []).append(told)
        services = [
            {"endpoints": by_service.get(service.id, []), "id": service.id, "type": service.type, "name": service.name}
            for service in tx.all(CatalogService, CatalogService.c.enabled, order=[CatalogService.c.type])
        ]
        templated = any(_BLANK.search(one["url"]) for endpoints in by_service.values() for one in endpoints)
        filtered = tx.one(ProjectEndpoint) is not None or tx.one(ProjectEndpointGroup) is not None
        recall.catalog = Catalog(services, templated, filtered)
    return recall.catalog


def catalog_for(tx: Transaction, recall: Recall, user_id: str, project_id: str) -> bytes:
    """The JSON of the catalog for a user in a project ("": none); endpoints that need a project are left out without one."""
    known = recall.catalog
    key = ("", "") if known is not None and known.alike else (user_id, project_id)
    found = recall.catalogs.get(key)
    if found is None:
        whole = catalog(tx, recall)
        services = whole.services
        if whole.filtered and project_id:
            services = _only(services, endpoints_of(tx, project_id))
        found = msgspec.json.encode(_filled(services, user_id, project_id) if whole.templated else services)
        recall.keep(recall.catalogs, key, found)
    return found


def endpoints_of(tx: Transaction, project_id: str) -> dict[str, Endpoint]:
    """The endpoints that a project was given, each or by groups; none when it sees all."""
    ids = [row.endpoint_id for row in tx.all(ProjectEndpoint, ProjectEndpoint.c.project_id == project_id)]
    found = {row.id: row for row in tx.by(Endpoint, Endpoint.c.id, ids)}
    group_ids = [row.endpoint_group_id for row in tx.all(ProjectEndpointGroup, ProjectEndpointGroup.c.project_id == project_id)]
    for group in tx.by(EndpointGroup, EndpointGroup.c.id, group_ids):
        found |= {row.id: row for row in fitting(tx, group)}
    return found


def fitting(tx: Transaction, group: EndpointGroup) -> list[Endpoint]:
    """The endpoints that fit a group's filter."""
    return tx.all(Endpoint, *(Endpoint.c[name] == value for name, value in group.filters.items()), order=[Endpoint.c.id])


def _only(services: list[dict[str, Any]], wanted: dict[str, Endpoint]) -> list[dict[str, Any]]:
    """The services with these of their endpoints, if any are wanted."""
    if not wanted:
        return services
    told = [{**service, "endpoints": [one for one in service["endpoints"] if one["id"] in wanted]} for service in services]
    return [service for service in told if service["endpoints"]]


def _filled(services: list[dict[str, Any]], user_id: str, project_id: str) -> list[dict[str, Any]]:
    values = {"user_id": user_id, "project_id": project_id, "tenant_id": project_id}
    told: list[dict[str, Any]] = []
    for service in services:
        endpoints = [
            {**one, "url": _BLANK.sub(lambda blank: values[blank[1]], one["url"])} for one in service["endpoints"]
            if all(values.get(name) for name in _BLANK.findall(one["url"]))
        ]  # fmt: skip
        told.append({**service, "endpoints": endpoints})
    return told
