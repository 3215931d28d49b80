"""The conductor: what compute agents, which have no database, ask and tell."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from pilvi import identity, image, network, placement
from pilvi.compute.drivers import HostFacts, Machine, Power, SeenMachine
from pilvi.compute.heartbeats import Heartbeats
from pilvi.compute.logic.machines import has_part, machine, on_host
from pilvi.compute.metadata import Metadata
from pilvi.compute.operations import guests, healing
from pilvi.compute.tables.hosts import ComputeHost
from pilvi.compute.tables.servers import Device, Server
from pilvi.kernel import agent, clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import NotFound
from pilvi.kernel.gather import Gather
from pilvi.kernel.program import Program

TOPIC = "compute-conductor"
_NODES = uuid.UUID("5d0f4c1e-6a57-4b83-9d6c-8f1f3c0f7a11")  # the space in which hosts' names become uuids


class ImageSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where an agent gets and puts image data: the image service's URL and a token of the cloud's own."""

    url: str
    token: str


class Wished(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that shall be on a host, in short."""

    id: str
    power: Power


class Conductor:
    """Answers the topic `compute-conductor`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.settings = program.settings.compute
        self._heartbeats = Heartbeats(program, self._note_host)
        self._seen: Gather[healing.Observation] = Gather(
            "compute-observations", min(1.0, self.settings.heartbeat / 4), lambda seen: healing.compare_all(program, seen)
        )

    def describe_machine(self, server_id: str, host: str) -> Machine:
        """The machine as it shall be on the host that asks.  Raises NotFound when there shall be none."""
        with self.program.db.transaction(write=False) as tx:
            server = tx.get(Server, server_id)
            if server is None or server.deleted_at is not None or server.task_state == "deleting" or not server.host:
                raise NotFound(f"There shall be no machine {server_id}.")
            part = on_host(server, tx.all(Device, Device.c.server_id == server_id), host)
            if part is None:
                raise NotFound(f"There shall be no machine {server_id} on host {host}.")
            server, devices = part
            ports = network.ports_of(tx, [server_id]).get(server_id, []) if server.nics else []
            files = guests.config_drive(self.program, tx, server, devices, ports) if server.config_drive else None
        return machine(server, devices, ports, files)

    def has_part(self, server_id: str, host: str) -> bool:
        """Whether the host has a part in the server, so that nothing of it may be removed there."""
        with self.program.db.transaction(write=False) as tx:
            return has_part(tx.get(Server, server_id), host)

    def image_source(self) -> ImageSource:
        """How to reach the image service."""
        return ImageSource(url=identity.endpoint(self.program, "image"), token=identity.agents_token(self.program))

    def image_is_active(self, image_id: str) -> bool:
        """Whether the image has its data already."""
        with self.program.db.transaction(write=False) as tx:
            found = image.many(self.program.system_context(tx), [image_id]).get(image_id)
        return found is not None and found.status == "active"

    def finished(self, server_id: str) -> None:
        """An agent's long piece of work for the server has ended: whoever waits for it looks again."""
        self.program.db.run(lambda tx: self.program.workflows.wake(tx, server_id))

    def everything_on(self, host: str) -> list[Wished]:
        """All machines that shall be on the host."""
        with self.program.db.transaction(write=False) as tx:
            return [Wished(id=server.id, power=server.power) for server in healing.expected_on(tx, host)]

    def heartbeat(self, host: str, facts: HostFacts, started_at: float) -> None:
        """The host is there and has this; it becomes known to placement and the scheduler by its first heartbeat."""
        self._heartbeats.hear(host, facts, started_at)

    def observed(self, host: str, seen: list[SeenMachine], arrived: bool) -> None:
        """What the host's machines are seen to be; `arrived`: the agent has just started, so wishes are made true."""
        if arrived:
            self._seen.drop(host)
            healing.compare(self.program, host, seen, arrived=True)
        else:
            self._seen.add(host, healing.Observation(seen=seen, before=clock.now() - min(1.0, self.settings.heartbeat)))

    def changed(self, host: str, seen: SeenMachine) -> None:
        """One machine was seen to change by itself."""
        healing.compare_one(self.program, host, seen)

    def _end(self) -> None:
        self._heartbeats.stop()
        self._seen.stop()

    def _note_host(self, tx: Transaction, host: str, facts: HostFacts, started_at: float) -> int:
        known = tx.get(ComputeHost, host)
        now = clock.now()
        if known is None:
            known = tx.insert(
                ComputeHost(
                    host=host, id=str(uuid.uuid5(_NODES, host)), service_id=str(uuid.uuid5(_NODES, "service " + host)), facts=facts,
                    heartbeat_at=now, started_at=started_at, created_at=now, version=secrets.randbits(40),
                )
            )  # fmt: skip
        else:
            if now - known.heartbeat_at > self.settings.down_after or known.started_at != started_at:
                healing.returned(self.program, tx, host)
            values: dict[str, Any] = {"heartbeat_at": now, "started_at": started_at}
            if _lasting(known.facts) != _lasting(facts):
                values |= {"version": known.version + 1, "updated_at": now}
            if known.facts != facts:
                values["facts"] = facts
            tx.change(known, **values)
        placement.ensure_provider(tx, known.id, facts.hostname, self._inventories(facts), self._traits(known, facts))
        return known.version

    def _inventories(self, facts: HostFacts) -> dict[str, placement.Inventory]:
        """What a host offers, with the ratios of the settings."""
        cpu, memory, disk = facts.vcpus, facts.memory_mib, facts.disk_gib
        kept_memory = min(self.settings.reserved_memory_mib, memory)
        kept_disk = min(self.settings.reserved_disk_gib, disk)
        offered = {
            "VCPU": placement.Inventory(total=cpu, max_unit=cpu, allocation_ratio=self.settings.cpu_ratio),
            "MEMORY_MB": placement.Inventory(total=memory, reserved=kept_memory, max_unit=memory, allocation_ratio=self.settings.ram_ratio),
            "DISK_GB": placement.Inventory(total=disk, reserved=kept_disk, max_unit=disk, allocation_ratio=self.settings.disk_ratio),
        }
        return {name: inventory for name, inventory in offered.items() if inventory.total > 0}

    def _traits(self, host: ComputeHost, facts: HostFacts) -> set[str]:
        return {*facts.traits, "COMPUTE_STATUS_DISABLED"} if host.disabled else set(facts.traits)


def _lasting(facts: HostFacts) -> HostFacts:
    """The facts without what changes from minute to minute."""
    return msgspec.structs.replace(facts, free_memory_mib=0, free_disk_gib=0, running=0)


def serve(program: Program) -> Callable[[], None]:
    """The role `conductor`, as agents see it; and the answers to guests, which come by way of the network."""
    network.set_metadata_handler(program, Metadata(program).answer)
    conductor = Conductor(program)
    stop = agent.serve(program.bus, TOPIC, conductor, threads=8)

    def end() -> None:
        stop()
        conductor._end()

    return end
