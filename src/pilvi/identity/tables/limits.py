"""Unified limits: what projects may use, by default and each."""

from __future__ import annotations

from pilvi.kernel.db import Key, Ref, Row, Text


class RegisteredLimit(Row, table="identity_registered_limits", unique=[("service_id", "region_id", "resource_name")]):
    """How much of a resource every project may use."""

    id: Key
    service_id: Ref
    region_id: str = ""
    resource_name: str
    default_limit: int
    description: Text | None = None


class Limit(Row, table="identity_limits", unique=[("registered_limit_id", "project_id", "domain_id")]):
    """How much of it this project, or domain, may use."""

    id: Key
    registered_limit_id: Ref
    project_id: Ref = ""
    domain_id: Ref = ""
    resource_limit: int
    description: Text | None = None
