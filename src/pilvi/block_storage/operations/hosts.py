"""The services of block storage: that they live, what they have, and whether they may be used."""

from __future__ import annotations

from pilvi.block_storage.drivers import Capacity
from pilvi.block_storage.tables.hosts import ServiceHost
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.ids import new_id
from pilvi.kernel.program import Program


def register(tx: Transaction, binary: str, host: str, zone: str, capacity: Capacity | None = None, trouble: str = "") -> None:
    """Note that a service lives; a capacity is kept until a newer one is told."""
    now = clock.now()
    row = tx.get(ServiceHost, binary, host)
    if row is None:
        tx.insert(
            ServiceHost(
                binary=binary, host=host, uuid=new_id(), zone=zone, trouble=trouble, capacity=capacity, created_at=now, beat_at=now
            )
        )  # fmt: skip
    else:
        tx.change(row, zone=zone, trouble=trouble, capacity=capacity or row.capacity, beat_at=now)


def is_up(program: Program, service: ServiceHost) -> bool:
    """Whether the service has been heard of lately."""
    return service.beat_at >= program.hearing.since(program.settings.block_storage.down_after)


def volume_services(tx: Transaction) -> list[ServiceHost]:
    """The back ends."""
    return tx.all(ServiceHost, ServiceHost.c.binary == "cinder-volume", order=[ServiceHost.c.host])


def zones(program: Program, tx: Transaction) -> dict[str, bool]:
    """The availability zones, and whether any back end in them may be used."""
    found: dict[str, bool] = {}
    for service in volume_services(tx):
        found[service.zone] = found.get(service.zone, False) or not service.disabled
    return found or {program.settings.block_storage.availability_zone: True}


def node_of(host: str) -> str:
    """The host in host@backend#pool: where the agent answers."""
    return host.partition("#")[0].rpartition("@")[0]
