"""Facts that the network service tells upwards."""

from __future__ import annotations

import msgspec


class PortChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A port's status is another one."""

    port_id: str
    device_id: str
    project_id: str
    status: str


class PortDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A port that had a device is gone."""

    port_id: str
    device_id: str
    project_id: str


class FloatingIpChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A device has another set of floating IPs."""

    device_id: str
