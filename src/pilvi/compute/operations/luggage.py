"""Luggage: read what a server takes along to another host, and what speaks against each host."""

from __future__ import annotations

from math import ceil

from pilvi import network
from pilvi.compute.drivers import HostFacts
from pilvi.compute.logic.moves import Luggage, Move, objections
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import Device, FlavorCopy, Server
from pilvi.kernel.db import Transaction
from pilvi.kernel.program import Program


def barred(program: Program, tx: Transaction, server: Server, move: Move, flavor: FlavorCopy | None = None) -> dict[str, str]:
    """Why the server cannot go to hosts, beyond what the scheduler's filters say; hosts that will do are left out."""
    facts = {row.host: row.facts for row in tx.all(ComputeHost)}
    packed = luggage(program, tx, server, flavor or server.flavor, facts)
    found: dict[str, str] = {}
    for host, its in facts.items():
        told = objections(move, packed, host, its)
        if told:
            found[host] = "; ".join(told)
    return found


def luggage(program: Program, tx: Transaction, server: Server, flavor: FlavorCopy, facts: dict[str, HostFacts]) -> Luggage:
    """What the server takes along."""
    return Luggage(
        facts=facts.get(server.host or ""), local_gib=local_gib(tx, server, flavor),
        ports=network.out_of_reach(program, tx, [nic.port_id for nic in server.nics]), volumes=_volumes(program, tx, server, list(facts)),
        same_host=program.settings.compute.allow_resize_to_same_host,
    )  # fmt: skip


def local_gib(tx: Transaction, server: Server, flavor: FlavorCopy) -> int:
    """The most that the server's disks on its host can take."""
    root = flavor.disk if server.image_id else 0
    others = tx.all(Device, Device.c.server_id == server.id, Device.c.destination == "local", Device.c.source == "blank")
    return root + sum(ceil(one.size / 1024) if one.filesystem == "swap" else one.size for one in others)


def _volumes(program: Program, tx: Transaction, server: Server, hosts: list[str]) -> dict[str, str]:
    ids = [one.volume_id for one in tx.all(Device, Device.c.server_id == server.id, Device.c.destination == "volume") if one.volume_id]
    if not ids:
        return {}
    from pilvi import block_storage

    return block_storage.out_of_reach(program, tx, ids, hosts)
