"""Volume types, who may use them, and qos specs."""

from __future__ import annotations

from pilvi.kernel.db import Key, Ref, Row, Text, Word


class VolumeType(Row, table="block_storage_types", unique=[("name",)]):
    """A kind of volume that an operator offers."""

    id: Key
    name: str
    description: Text | None = None
    is_public: bool = True
    extra_specs: dict[str, str] = {}
    qos_specs_id: Ref | None = None
    created_at: float
    updated_at: float | None = None


class TypeAccess(Row, table="block_storage_type_access", indexes=[("project_id",)]):
    """A project that may use a private type."""

    type_id: Key
    project_id: Key


class TypeEncryption(Row, table="block_storage_type_encryption"):
    """How volumes of a type would be encrypted; no back end here does, so the scheduler refuses such types."""

    type_id: Key
    encryption_id: Ref
    provider: str
    control_location: Word
    cipher: str | None = None
    key_size: int | None = None
    created_at: float
    updated_at: float | None = None


class QosSpecs(Row, table="block_storage_qos_specs", unique=[("name",)]):
    """Speed limits that types can be given."""

    id: Key
    name: str
    consumer: Word = "back-end"
    specs: dict[str, str] = {}
    created_at: float


class DefaultType(Row, table="block_storage_default_types"):
    """The type that a project's volumes get when none is named."""

    project_id: Key
    type_id: Ref
