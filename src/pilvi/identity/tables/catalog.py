"""The catalog: regions, services and their endpoints, and which projects see which."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.db import Key, LongKey, Ref, Row, Text


class Region(Row, table="identity_regions"):
    """A part of the cloud with endpoints of its own."""

    id: LongKey
    parent_region_id: str | None = None
    description: Text = ""
    extra: dict[str, Any] = {}


class CatalogService(Row, table="identity_services", indexes=[("type",)]):
    """A service that clients can find."""

    id: Key
    type: str
    name: str = ""
    enabled: bool = True
    extra: dict[str, Any] = {}


class Endpoint(Row, table="identity_endpoints", indexes=[("service_id",)]):
    """Where a service is reached: public, internal or admin."""

    id: Key
    service_id: Ref
    interface: str
    region_id: str | None = None
    url: Text
    enabled: bool = True
    extra: dict[str, Any] = {}


class EndpointGroup(Row, table="identity_endpoint_groups"):
    """The endpoints that fit a filter."""

    id: Key
    name: str
    description: Text | None = None
    filters: dict[str, Any] = {}


class ProjectEndpoint(Row, table="identity_project_endpoints", indexes=[("endpoint_id",)]):
    """An endpoint that a project sees; a project with any sees only these."""

    project_id: Key
    endpoint_id: Key


class ProjectEndpointGroup(Row, table="identity_project_endpoint_groups", indexes=[("endpoint_group_id",)]):
    """A group of endpoints that a project sees."""

    project_id: Key
    endpoint_group_id: Key
