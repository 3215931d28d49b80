"""Availability zones over HTTP."""

from __future__ import annotations

from typing import Any

from pilvi.compute import policy
from pilvi.compute.operations import hosts as operations
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.http import Listing, Resource

availability_zones = Resource("/v2.1/os-availability-zone", tag="availability zones")

LIST = policy.reader("os-availability-zone:list", "List availability zones.")
DETAIL = policy.admin("os-availability-zone:detail", "List availability zones with their hosts.")


def _zones(ctx: Context) -> dict[str, list[operations.ServiceRecord]]:
    found: dict[str, list[operations.ServiceRecord]] = {}
    for one in operations.services(ctx):
        found.setdefault(one.zone, []).append(one)
    return found


def _available(services: list[operations.ServiceRecord]) -> bool:
    """A zone is available while one of its hosts may take servers."""
    return any(one.enabled for one in services)


@availability_zones.get("", rule=LIST, out="availabilityZoneInfo")
def index(ctx: Context) -> Listing:
    """List the availability zones that servers can be in."""
    internal = ctx.program.settings.compute.internal_zone
    return Listing(
        [
            {"zoneName": name, "zoneState": {"available": _available(services)}, "hosts": None}
            for name, services in sorted(_zones(ctx).items()) if name != internal
        ]
    )  # fmt: skip


@availability_zones.get("/detail", rule=DETAIL, out="availabilityZoneInfo")
def detail(ctx: Context) -> Listing:
    """List all zones with their hosts and services."""
    told: list[dict[str, Any]] = []
    for name, services in sorted(_zones(ctx).items()):
        hosts: dict[str, dict[str, Any]] = {}
        for one in services:
            state = {"available": one.up, "active": one.enabled, "updated_at": clock.iso_micro(one.updated_at)}
            hosts.setdefault(one.host, {})[one.binary] = state
        told.append({"zoneName": name, "zoneState": {"available": _available(services)}, "hosts": hosts})
    return Listing(told)
