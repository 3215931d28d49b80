"""Compute's services over HTTP: what runs where, and whether it may take new servers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilvi.compute import policy
from pilvi.compute.operations import hosts as operations
from pilvi.compute.operations.hosts import ServiceRecord
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Query, Resource, Version, View, since
from pilvi.kernel.ids import is_uuid

services = Resource("/v2.1/os-services", tag="services")

LIST = policy.admin("os-services:list", "List compute's services.")
UPDATE = policy.admin("os-services:update", "Enable, disable or force down a host.")
DELETE = policy.admin("os-services:delete", "Forget a host.")

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class ServiceView(View):
    """A service."""

    id: int | str
    binary: str
    host: str
    zone: str
    status: str
    state: str
    updated_at: str
    disabled_reason: str | None
    forced_down: bool = since("2.11")


class OldSwitch(Body):
    """A service by host and binary (until 2.52)."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    binary: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    disabled_reason: Reason | None = None
    forced_down: bool | None = since("2.11", default=None)


class Switch(Body):
    """What shall be so (since 2.53)."""

    status: Literal["enabled", "disabled"] | Given = UNSET
    disabled_reason: Reason | Given = UNSET
    forced_down: bool | Given = UNSET


class ServicesQuery(Query, extra="2.74"):
    """Only the services of that name or host."""

    binary: str | None = None
    host: str | None = None


def view(ctx: Context, one: ServiceRecord) -> ServiceView:
    assert ctx.version is not None
    return ServiceView(
        id=one.id if ctx.version >= Version(2, 53) else one.number, binary=one.binary, host=one.host, zone=one.zone,
        status="enabled" if one.enabled else "disabled", state="up" if one.up else "down", updated_at=clock.iso_micro(one.updated_at),
        disabled_reason=one.disabled_reason, forced_down=one.forced_down,
    )  # fmt: skip


@services.get("", rule=LIST, out="services")
def index(ctx: Context, query: ServicesQuery) -> Listing:
    """List compute's services."""
    return Listing([view(ctx, one) for one in operations.services(ctx, binary=query.binary, host=query.host)])


def _service(ctx: Context, ref: str) -> ServiceRecord:
    """The service of that id, which is a uuid since 2.53 and a number before."""
    assert ctx.version is not None
    if not (is_uuid(ref) if ctx.version >= Version(2, 53) else ref.isdecimal()):
        raise Invalid(f"Invalid service id {ref[:100]}", field="service_id")
    return operations.service(ctx, ref)


def _told(one: ServiceRecord, **more: Any) -> dict[str, Any]:
    return {"host": one.host, "binary": one.binary, **more}


@services.put("/enable", rule=UPDATE, out="service", until="2.52")
def enable(ctx: Context, body: OldSwitch) -> dict[str, Any]:
    """Let a host take new servers."""
    return _told(operations.switch(ctx, operations.service_at(ctx, body.host, body.binary), enabled=True), status="enabled")


@services.put("/disable", rule=UPDATE, out="service", until="2.52")
def disable(ctx: Context, body: OldSwitch) -> dict[str, Any]:
    """Let a host take no new servers."""
    return _told(operations.switch(ctx, operations.service_at(ctx, body.host, body.binary), enabled=False), status="disabled")


@services.put("/disable-log-reason", rule=UPDATE, out="service", until="2.52")
def disable_with_reason(ctx: Context, body: OldSwitch) -> dict[str, Any]:
    """Let a host take no new servers, and say why."""
    if body.disabled_reason is None:
        raise Invalid("Invalid input for field disabled_reason: it is required.", field="disabled_reason")
    one = operations.switch(ctx, operations.service_at(ctx, body.host, body.binary), enabled=False, reason=body.disabled_reason)
    return _told(one, status="disabled", disabled_reason=body.disabled_reason)


@services.put("/force-down", rule=UPDATE, out="service", since="2.11", until="2.52")
def force_down(ctx: Context, body: OldSwitch) -> dict[str, Any]:
    """Say that a host is down, or take that back."""
    if body.forced_down is None:
        raise Invalid("Invalid input for field forced_down: it is required.", field="forced_down")
    one = operations.switch(ctx, operations.service_at(ctx, body.host, body.binary), forced_down=body.forced_down)
    return _told(one, forced_down=one.forced_down)


@services.put("/{service_id}", rule=UPDATE, out="service", since="2.53")
def update(ctx: Context, service_id: str, body: Switch) -> ServiceView:
    """Enable, disable or force down a host."""
    reason = body.disabled_reason if isinstance(body.disabled_reason, str) else None
    if body.status is UNSET and body.forced_down is UNSET:
        raise Invalid("Invalid input for field status: nothing is asked to be changed.", field="status")
    if reason is not None and body.status != "disabled":
        raise Invalid("Specifying disabled_reason requires that status is disabled.", field="disabled_reason")
    changed = operations.switch(
        ctx, _service(ctx, service_id), enabled=None if body.status is UNSET else body.status == "enabled", reason=reason,
        forced_down=body.forced_down if isinstance(body.forced_down, bool) else None,
    )  # fmt: skip
    return view(ctx, changed)


@services.delete("/{service_id}", rule=DELETE, answers=204)
def delete(ctx: Context, service_id: str) -> None:
    """Forget a host that has no servers."""
    operations.forget(ctx, _service(ctx, service_id))
