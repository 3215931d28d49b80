"""The scheduler role: chooses the pool of a volume and writes it down, or explains pool by pool why there is none."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pilvi.block_storage.drivers import Capacity
from pilvi.block_storage.logic.pools import Pool, Wish, choose
from pilvi.block_storage.operations.hosts import is_up, register
from pilvi.block_storage.tables.hosts import ServiceHost
from pilvi.block_storage.tables.types import TypeEncryption, VolumeType
from pilvi.block_storage.tables.volumes import Backup, Snapshot, Volume
from pilvi.kernel import agent
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import NotFound, NoValidHost
from pilvi.kernel.program import Program
from pilvi.kernel.pulse import Pulse

TOPIC = "block_storage-scheduler"


class Scheduler:
    """Answers where a volume shall be."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def place(self, volume_id: str) -> str:
        """The volume's pool, chosen now if it has none; raises NoValidHost with the explanation."""

        def work(tx: Transaction) -> str:
            volume = tx.get_to_change(Volume, volume_id)
            if volume is None:
                raise NotFound(kind="Volume", ref=volume_id)
            if not volume.host:
                self._program.workflows.confirm(tx)
                pool = find(self._program, tx, volume)
                tx.change(volume, expect={"host": ""}, host=pool.name, availability_zone=volume.availability_zone or pool.zone)
            return volume.host

        return self._program.db.run(work)


def find(program: Program, tx: Transaction, volume: Volume) -> Pool:
    """The pool for a volume; raises NoValidHost."""
    settings = program.settings.block_storage
    pools, silent = [], []
    for service in tx.all(ServiceHost, ServiceHost.c.binary == "cinder-volume"):
        if service.disabled:
            silent.append(f"{service.host}: it is disabled{': ' + service.disabled_reason if service.disabled_reason else ''}")
        elif not is_up(program, service):
            silent.append(f"{service.host}: it has not been heard of for a while")
        elif service.capacity is None:
            silent.append(f"{service.host}: {service.trouble or 'it has not told its capacity yet'}")
        else:
            pools.append(Pool(host=service.host, zone=service.zone, capacity=_promised(tx, service, volume.id)))
    pool, why = choose(
        pools, wish(tx, volume), over_subscription=settings.over_subscription, reserved_percent=settings.reserved_percent
    )
    if pool is None:
        told = "; ".join(why + silent) or "there is no volume service"
        raise NoValidHost(f"No valid back end was found for volume {volume.id}: {told}.")
    return pool


def wish(tx: Transaction, volume: Volume) -> Wish:
    """What the volume asks of its pool."""
    kind = tx.get(VolumeType, volume.volume_type_id) if volume.volume_type_id else None
    hints = volume.scheduler_hints
    return Wish(
        size_gib=volume.size, zone=volume.availability_zone, multiattach=volume.multiattach, pinned=_source_host(tx, volume),
        specs=kind.extra_specs if kind else {}, encrypted=kind is not None and tx.get(TypeEncryption, kind.id) is not None,
        excluded=frozenset(volume.excluded_hosts), same_host=_hosts(tx, hints.get("same_host")),
        different_host=_hosts(tx, hints.get("different_host")),
    )  # fmt: skip


def _source_host(tx: Transaction, volume: Volume) -> str:
    """Where what the volume is made from lies: copies are made within one back end."""
    source_id = volume.source_volid
    if volume.snapshot_id:
        snapshot = tx.get(Snapshot, volume.snapshot_id)
        source_id = snapshot.volume_id if snapshot else None
    if source_id:
        source = tx.get(Volume, source_id)
        return source.host if source else ""
    if volume.backup_id:
        backup = tx.get(Backup, volume.backup_id)
        return backup.host if backup else ""
    return ""


def _promised(tx: Transaction, service: ServiceHost, volume_id: str) -> Capacity:
    """The capacity, less what has been promised since the last report to volumes that are being made."""
    capacity = service.capacity
    assert capacity is not None
    making = tx.sum(
        Volume.c.size, Volume.c.host == f"{service.host}#{capacity.backend}", Volume.c.status == "creating", Volume.c.id != volume_id,
        Volume.c.created_at > service.beat_at - 1,
    )  # fmt: skip
    free = capacity.free_gib if capacity.thin else capacity.free_gib - making
    return msgspec.structs.replace(capacity, provisioned_gib=capacity.provisioned_gib + making, free_gib=free)


def _hosts(tx: Transaction, hint: object) -> tuple[str, ...]:
    """The pools of the volumes that a scheduler hint names."""
    named = [hint] if isinstance(hint, str) else [one for one in hint if isinstance(one, str)] if isinstance(hint, list) else []
    return tuple(volume.host for volume in tx.by(Volume, Volume.c.id, named) if volume.host)


def serve(program: Program) -> Callable[[], None]:
    """The scheduler role."""
    settings = program.settings.block_storage
    name = program.host

    def beat() -> None:
        program.db.run(lambda tx: register(tx, "cinder-scheduler", name, settings.availability_zone))

    pulse = Pulse("block-storage-scheduler", settings.heartbeat, beat)
    stop = agent.serve(program.bus, TOPIC, Scheduler(program), host=name)
    pulse.start()

    def end() -> None:
        pulse.stop()
        stop()

    return end

