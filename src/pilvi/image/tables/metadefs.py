"""Metadata definitions: what properties mean, told to dashboards."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.db import Key, LongKey, Ref, Row, Text, Word


class Namespace(Row, table="image_metadef_namespaces", indexes=[("owner",)]):
    """A set of definitions."""

    name: LongKey
    display_name: str | None = None
    description: Text | None = None
    visibility: Word = "private"
    protected: bool = False
    owner: Ref
    created_at: float
    updated_at: float


class Definition(Row, table="image_metadef_definitions"):
    """An object, a property or a tag (`kind`) of a namespace; `told` is what was said of it."""

    namespace: LongKey
    kind: Key
    name: LongKey
    told: dict[str, Any]
    created_at: float
    updated_at: float


class Association(Row, table="image_metadef_associations"):
    """A type of resource that a namespace is meant for."""

    namespace: LongKey
    resource_type: LongKey
    prefix: str | None = None
    properties_target: str | None = None
    created_at: float
    updated_at: float
