"""Guests: what a server's own system may read of itself, by the config drive and by the metadata service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilvi import network
from pilvi.compute.logic import guest_data
from pilvi.compute.logic.guest_data import Guest
from pilvi.compute.tables.servers import Device, Server
from pilvi.kernel.db import Transaction
from pilvi.kernel.program import Program


def describe(program: Program, tx: Transaction, server: Server, devices: Sequence[Device], ports: Sequence[Any]) -> Guest:
    """All that a guest may know of itself."""
    settings = program.settings.compute
    addresses = network.addresses_of(tx, [server.id]).get(server.id, []) if server.nics else []
    groups = network.groups_of(tx, [server.id]).get(server.id, []) if server.nics else []
    return Guest(
        server=server, devices=list(devices), ports=list(ports), addresses=list(addresses), groups=list(groups),
        zone=server.zone or settings.default_zone, domain=settings.dhcp_domain, vendor_data=settings.metadata_vendor_data,
    )  # fmt: skip


def config_drive(program: Program, tx: Transaction, server: Server, devices: Sequence[Device], ports: Sequence[Any]) -> dict[str, bytes]:
    """The files of the server's config drive."""
    return guest_data.files(describe(program, tx, server, devices, ports))
