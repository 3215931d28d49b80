"""Aggregates over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pilvi.compute import policy
from pilvi.compute.operations import aggregates as operations
from pilvi.compute.operations import image_cache
from pilvi.compute.tables.aggregates import Aggregate
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Resource, View, since, wire

aggregates = Resource("/v2.1/os-aggregates", tag="aggregates")

INDEX = policy.admin("os-aggregates:index", "List aggregates.")
SHOW = policy.admin("os-aggregates:show", "Show an aggregate.")
CREATE = policy.admin("os-aggregates:create", "Create an aggregate.")
UPDATE = policy.admin("os-aggregates:update", "Change an aggregate.")
DELETE = policy.admin("os-aggregates:delete", "Delete an aggregate.")
ADD_HOST = policy.admin("os-aggregates:add_host", "Add a host to an aggregate.")
REMOVE_HOST = policy.admin("os-aggregates:remove_host", "Take a host out of an aggregate.")
SET_METADATA = policy.admin("os-aggregates:set_metadata", "Write an aggregate's metadata.")
IMAGES = policy.admin("compute:aggregates:images", "Have images cached on an aggregate's hosts.")

Named = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^(?!\s)(.*\S)?$")]
Value = Annotated[str, msgspec.Meta(max_length=255)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9_:. -]+$")]


class CreateAggregate(Body):
    """An aggregate's name, and the zone that it is."""

    name: Named
    availability_zone: Named | None = None


class UpdateAggregate(Body):
    """What may be changed of it."""

    name: Named | Given = UNSET
    availability_zone: Named | Given | None = UNSET


class HostName(Body):
    """A host by its name."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Metadata(Body):
    """Keys and values; null takes a key away."""

    metadata: dict[Key, Value | None]


class ImageRef(Body):
    """An image by its id."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F-]{32,36}$")]


class AggregateView(View):
    """An aggregate and its hosts; one that was just made is told without them."""

    id: int
    name: str
    availability_zone: str | None
    hosts: list[str] | Given = wire(default=UNSET)
    metadata: dict[str, str] | Given = wire(default=UNSET)
    created_at: str
    updated_at: str | None
    deleted: bool = False
    deleted_at: None = None
    uuid: str = since("2.41")


def view(ctx: Context, aggregate: Aggregate, hosts: list[str] | None = None) -> AggregateView:
    members = operations.hosts(ctx, [aggregate])[aggregate.id] if hosts is None else hosts
    return AggregateView(
        id=aggregate.id, name=aggregate.name, availability_zone=aggregate.metadata.get(operations.ZONE), hosts=members,
        metadata=aggregate.metadata, created_at=clock.iso_micro(aggregate.created_at),
        updated_at=None if aggregate.updated_at is None else clock.iso_micro(aggregate.updated_at), uuid=aggregate.uuid,
    )  # fmt: skip


@aggregates.get("", rule=INDEX, out="aggregates")
def index(ctx: Context) -> Listing:
    """List aggregates."""
    found = operations.index(ctx)
    members = operations.hosts(ctx, found)
    return Listing([view(ctx, one, members[one.id]) for one in found])


@aggregates.post("", rule=CREATE, out="aggregate")
def create(ctx: Context, aggregate: CreateAggregate) -> AggregateView:
    """Create an aggregate."""
    made = view(ctx, operations.create(ctx, name=aggregate.name, zone=aggregate.availability_zone), [])
    made.hosts = made.metadata = UNSET
    return made


@aggregates.get("/{aggregate_id}", rule=SHOW, out="aggregate")
def show(ctx: Context, aggregate_id: str) -> AggregateView:
    """Show an aggregate."""
    return view(ctx, operations.get(ctx, aggregate_id))


@aggregates.put("/{aggregate_id}", rule=UPDATE, out="aggregate")
def update(ctx: Context, aggregate_id: str, aggregate: UpdateAggregate) -> AggregateView:
    """Rename an aggregate, or its zone."""
    if aggregate.name is UNSET and aggregate.availability_zone is UNSET:
        raise Invalid("Invalid input for field aggregate: name or availability_zone is expected.", field="aggregate")
    name = aggregate.name if isinstance(aggregate.name, str) else None
    changed = operations.rename(ctx, aggregate_id, name) if name is not None else operations.get(ctx, aggregate_id)
    if not isinstance(aggregate.availability_zone, Given):
        changed = operations.set_metadata(ctx, aggregate_id, {operations.ZONE: aggregate.availability_zone})
    return view(ctx, changed)


@aggregates.delete("/{aggregate_id}", rule=DELETE)
def delete(ctx: Context, aggregate_id: str) -> None:
    """Delete an aggregate that has no hosts."""
    operations.delete(ctx, aggregate_id)


@aggregates.action("add_host", of="aggregate_id", rule=ADD_HOST, out="aggregate")
def add_host(ctx: Context, aggregate_id: str, change: HostName) -> AggregateView:
    """Add a host."""
    return view(ctx, operations.add_host(ctx, aggregate_id, change.host))


@aggregates.action("remove_host", of="aggregate_id", rule=REMOVE_HOST, out="aggregate")
def remove_host(ctx: Context, aggregate_id: str, change: HostName) -> AggregateView:
    """Take a host out."""
    return view(ctx, operations.remove_host(ctx, aggregate_id, change.host))


@aggregates.action("set_metadata", of="aggregate_id", rule=SET_METADATA, out="aggregate")
def set_metadata(ctx: Context, aggregate_id: str, change: Metadata) -> AggregateView:
    """Write metadata."""
    return view(ctx, operations.set_metadata(ctx, aggregate_id, change.metadata))


@aggregates.post("/{aggregate_id}/images", rule=IMAGES, answers=202, since="2.81")
def cache_images(ctx: Context, aggregate_id: str, cache: list[ImageRef]) -> None:
    """Have images in the cache of the aggregate's hosts before servers need them."""
    aggregate = operations.get(ctx, aggregate_id)
    image_cache.prepare(ctx, operations.hosts(ctx, [aggregate])[aggregate.id], [one.id for one in cache])
