"""Tables of placement: providers with their inventories, consumers with their allocations, and names that operators made."""

from __future__ import annotations

from pilvi.kernel.db import Key, LongKey, Ref, Row


class Provider(Row, table="placement_providers", indexes=[("updated_at", "revision"), ("root",)], unique=[("name",)]):
    """A provider of resources.  `revision` is a new random number after every change, so that what was read before
    can be known as old; `generation` is what clients send back."""

    uuid: Key
    name: str
    generation: int = 0
    revision: int
    parent: Ref | None = None
    root: Ref
    traits: list[str]
    aggregates: list[str]
    created_at: float
    updated_at: float


class Stock(Row, table="placement_inventories", indexes=[("resource_class",)]):
    """A provider's inventory of one class.  `used` is kept in step with the allocations by the same transaction."""

    provider: Key
    resource_class: LongKey
    total: int
    reserved: int
    min_unit: int
    max_unit: int
    step_size: int
    allocation_ratio: float
    capacity: int  # (total - reserved) * allocation_ratio, in whole units
    used: int = 0
    updated_at: float


class Consumer(Row, table="placement_consumers", indexes=[("project_id", "user_id")]):
    """Who uses resources: a server, a migration."""

    uuid: Key
    project_id: str
    user_id: str
    type: str | None = None
    generation: int = 0
    created_at: float
    updated_at: float


class Allocation(Row, table="placement_allocations", indexes=[("provider",)]):
    """How much of one class of one provider a consumer uses."""

    consumer: Key
    provider: Key
    resource_class: LongKey
    used: int
    updated_at: float


class CustomClass(Row, table="placement_resource_classes"):
    """A resource class that an operator made: CUSTOM_..."""

    name: LongKey
    updated_at: float


class CustomTrait(Row, table="placement_traits"):
    """A trait that an operator made: CUSTOM_..."""

    name: LongKey
    updated_at: float
