"""Aggregates: hosts that operators group, by zone or by what they are good for."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pilvi.compute.operations.zones import aggregates_of_hosts
from pilvi.compute.tables.aggregates import Aggregate, AggregateHost
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.ids import new_id

ZONE = "availability_zone"
_NUMBER = re.compile(r"\A-?[0-9]{1,18}\Z")


def index(ctx: Context) -> list[Aggregate]:
    """All aggregates, in the order of their making."""
    return ctx.db.all(Aggregate, order=[Aggregate.c.id])


def get(ctx: Context, ref: str) -> Aggregate:
    """The aggregate by its number, to be changed where one writes; raises NotFound."""
    if not _NUMBER.match(ref):
        raise Invalid(f"Invalid aggregate id {ref[:100]}: a number is expected.", field="aggregate_id")
    aggregate = ctx.db.get_to_change(Aggregate, int(ref))
    if aggregate is None:
        raise NotFound(f"Aggregate {ref} could not be found.")
    return aggregate


def hosts(ctx: Context, aggregates: list[Aggregate]) -> dict[int, list[str]]:
    """The hosts of each aggregate."""
    found: dict[int, list[str]] = {aggregate.id: [] for aggregate in aggregates}
    for member in ctx.db.by(AggregateHost, AggregateHost.c.aggregate_id, found):
        found[member.aggregate_id].append(member.host)
    return found


def create(ctx: Context, *, name: str, zone: str | None) -> Aggregate:
    """Make an aggregate; with a zone's name it is that zone."""
    _check_name(ctx, name)
    metadata = {ZONE: _zone(zone)} if zone is not None else {}
    return ctx.db.insert(Aggregate(uuid=new_id(), name=name, metadata=metadata, created_at=clock.now()))


def rename(ctx: Context, ref: str, name: str) -> Aggregate:
    """Give an aggregate another name."""
    aggregate = get(ctx, ref)
    if name != aggregate.name:
        _check_name(ctx, name)
    return ctx.db.change(aggregate, name=name, updated_at=clock.now())


def set_metadata(ctx: Context, ref: str, changes: Mapping[str, str | None]) -> Aggregate:
    """Write metadata; None takes a key away.  The zone's key moves the hosts into that zone."""
    aggregate = get(ctx, ref)
    zone = changes.get(ZONE)
    everyone = hosts(ctx, [aggregate])[aggregate.id]
    ctx.db.lock_all(ComputeHost, ComputeHost.c.host.in_(everyone))
    members = everyone if ZONE in changes else []
    if zone is not None:
        _check_zone(ctx, aggregate, _zone(zone), members)
    elif members and aggregate.metadata.get(ZONE):
        _check_empty(ctx, members)
    metadata = {key: value for key, value in {**aggregate.metadata, **changes}.items() if value is not None}
    _note(ctx, everyone)
    return ctx.db.change(aggregate, metadata=metadata, updated_at=clock.now())


def delete(ctx: Context, ref: str) -> None:
    """Dissolve an aggregate that has no hosts."""
    aggregate = get(ctx, ref)
    if ctx.db.count(AggregateHost, AggregateHost.c.aggregate_id == aggregate.id):
        raise Conflict(f"Cannot remove host from aggregate {ref}: Host aggregate is not empty.")
    ctx.db.remove(aggregate)


def add_host(ctx: Context, ref: str, host: str) -> Aggregate:
    """Add a host; it may be in one zone only, and may not change its zone while it has servers."""
    aggregate = get(ctx, ref)
    if ctx.db.get_to_change(ComputeHost, host) is None:  # one at a time puts it into a zone
        raise NotFound(f"Compute host {host} could not be found.")
    if ctx.db.get(AggregateHost, aggregate.id, host):
        raise Conflict(f"Cannot add host {host} in aggregate {ref}: host already exists.")
    if aggregate.metadata.get(ZONE):
        _check_zone(ctx, aggregate, aggregate.metadata[ZONE], [host])
    ctx.db.insert(AggregateHost(aggregate_id=aggregate.id, host=host))
    _note(ctx, [host])
    return ctx.db.change(aggregate, updated_at=clock.now())


def remove_host(ctx: Context, ref: str, host: str) -> Aggregate:
    """Take a host out."""
    aggregate = get(ctx, ref)
    ctx.db.get_to_change(ComputeHost, host)  # before what is written of it, as who forgets it takes them
    if aggregate.metadata.get(ZONE) and ctx.db.get(AggregateHost, aggregate.id, host):
        _check_empty(ctx, [host])
    if not ctx.db.delete(AggregateHost, AggregateHost.c.aggregate_id == aggregate.id, AggregateHost.c.host == host):
        raise NotFound(f"Cannot remove host {host} from aggregate {ref}: it is not in it.")
    _note(ctx, [host])
    return ctx.db.change(aggregate, updated_at=clock.now())


def _note(ctx: Context, members: list[str]) -> None:
    """What the scheduler remembers of these hosts is not true any more."""
    for host in members:
        ctx.db.update(ComputeHost, ComputeHost.c.host == host, version=ComputeHost.c.version + 1)


def _check_name(ctx: Context, name: str) -> None:
    if ctx.db.count(Aggregate, Aggregate.c.name == name):
        raise Conflict(f"Aggregate {name} already exists.")


def _zone(zone: str) -> str:
    if not zone.strip() or len(zone) > 255 or ":" in zone:
        raise Invalid("Invalid input for field availability_zone: it has 1 to 255 characters, and no ':'.", field="availability_zone")
    return zone


def _check_zone(ctx: Context, aggregate: Aggregate, zone: str, members: list[str]) -> None:
    """Refuse what would put a host into two zones, or move servers to another zone without asking."""
    known = aggregates_of_hosts(ctx.db)
    for host in members:
        others = {one.metadata[ZONE] for one in known.get(host, []) if one.id != aggregate.id and one.metadata.get(ZONE)}
        if others - {zone}:
            raise Conflict(f"Cannot add host {host} in aggregate {aggregate.id}: it is in availability zone {others.pop()} already.")
        if aggregate.metadata.get(ZONE) == zone and aggregate in known.get(host, []):
            continue
        if not others:
            _check_empty(ctx, [host])


def _check_empty(ctx: Context, hosts: list[str]) -> None:
    """Refuse to move servers to another zone without asking."""
    for host in hosts:
        if ctx.db.count(Server, Server.c.host == host, Server.c.deleted_at.is_(None)):
            raise Conflict(f"Cannot change the availability zone of host {host}: it has servers.")
