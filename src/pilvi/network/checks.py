"""What `pilvi check` looks for in networks: ports and addresses that nobody owns, and hosts that differ from the wishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pilvi.kernel.agent import remote
from pilvi.kernel.errors import PilviError
from pilvi.network.agent import TOPIC, NetworkAgent
from pilvi.network.conductor import NetworkConductor
from pilvi.network.logic.words import DHCP, FLOATING_IP, ROUTER_OWNERS
from pilvi.network.operations import placing, ports
from pilvi.network.tables import Allocation, FloatingIp, Network, Port, PortGroup, Router

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction
    from pilvi.kernel.program import Program

Finding = tuple[str, str, str, Callable[[], None] | None]


def check_ports(program: Program) -> Iterator[Finding]:
    """Ports of the cloud's own whose router, floating IP or network is gone."""
    with program.db.transaction(write=False) as tx:
        held = tx.all(Port, Port.c.device_owner.in_([*ROUTER_OWNERS, FLOATING_IP, DHCP]))
        known = {row.id for row in tx.by(Router, Router.c.id, [one.device_id for one in held])}
        known |= {row.id for row in tx.by(FloatingIp, FloatingIp.c.id, [one.device_id for one in held])}
        networks = {row.id for row in tx.by(Network, Network.c.id, [one.network_id for one in held])}
    for port in held:
        if port.network_id in networks and (port.device_owner == DHCP or port.device_id in known):
            continue
        said = f"The port {port.id} ({port.device_owner}) serves {port.device_id or 'nobody'}, which does not exist."
        yield "port without owner", port.id, said, _mend(program, lambda tx, ref=port.id: _drop(program, tx, ref))


def _drop(program: Program, tx: Transaction, port_id: str) -> None:
    row = tx.get(Port, port_id)
    if row is not None:
        ports.delete_row(program.system_context(tx), row)


def check_addresses(program: Program) -> Iterator[Finding]:
    """Allocations that no port has, and addresses of ports that are not allocated."""
    with program.db.transaction(write=False) as tx:
        written = {(row.subnet_id, row.address): row.port_id for row in tx.all(Allocation)}
        shown = {(one.subnet_id, one.ip_address): row for row in tx.all(Port) for one in row.fixed_ips}
    for (subnet_id, address), port_id in written.items():
        port = shown.get((subnet_id, address))
        if port is None or port.id != port_id:
            said = f"The address {address} is kept for the port {port_id}, which does not have it."
            where = (Allocation.c.subnet_id == subnet_id, Allocation.c.address == address, Allocation.c.port_id == port_id)
            yield "address without port", address, said, _mend(program, lambda tx, where=where: tx.delete(Allocation, *where))
    for (subnet_id, address), port in shown.items():
        if (subnet_id, address) not in written:
            said = f"The port {port.id} has the address {address}, which is not kept for it."
            row = Allocation(subnet_id=subnet_id, address=address, network_id=port.network_id, port_id=port.id)
            yield "address not kept", address, said, _mend(program, lambda tx, row=row: tx.insert(row))


def check_groups(program: Program) -> Iterator[Finding]:
    """Memberships in security groups that are not the ports' own."""
    with program.db.transaction(write=False) as tx:
        shown = {(row.id, group) for row in tx.all(Port) for group in row.security_groups}
        written = {(row.port_id, row.group_id) for row in tx.all(PortGroup)}
    for port_id, group in sorted(written ^ shown):
        said = f"The port {port_id} and the list of members of the security group {group} contradict each other."
        yield "group membership", port_id, said, _mend(program, lambda tx, ref=port_id: _regroup(tx, ref))


def _regroup(tx: Transaction, port_id: str) -> None:
    row = tx.get(Port, port_id)
    tx.delete(PortGroup, PortGroup.c.port_id == port_id)
    if row is not None:
        tx.insert_all([PortGroup(port_id=port_id, group_id=group) for group in row.security_groups])


def check_hosts(program: Program) -> Iterator[Finding]:
    """What lies on living hosts and should not, or should and does not."""
    conductor = NetworkConductor(program)
    with program.db.transaction(write=False) as tx:
        hosts = sorted(placing.living(program.system_context(tx), tx))
    for host in hosts:
        agent = remote(program.bus, NetworkAgent, TOPIC, host=host)
        try:
            seen, wanted = agent.observe(), conductor.everything_on(host)
        except PilviError as error:
            yield "host", host, f"The network agent of {host} could not be asked: {error.message}", None
            continue
        pairs = (
            ("port", seen.ports, wanted.ports), ("router", seen.routers, wanted.routers), ("DHCP", seen.dhcp, wanted.dhcp),
            ("network", seen.segments, wanted.networks),
        )  # fmt: skip
        for kind, there, wish in pairs:
            for ref in sorted({*there} - {*wish}):
                yield f"unknown {kind}", ref, f"On the host {host} lies a {kind} {ref} that should not be there.", agent.heal
            for ref in sorted({*wish} - {*there}) if kind != "network" else ():
                yield f"missing {kind}", ref, f"The {kind} {ref} is missing on the host {host}.", agent.heal


def _mend(program: Program, work: Callable[[Transaction], object]) -> Callable[[], None]:
    """The function that does the work in a transaction of its own."""

    def mend() -> None:
        program.db.run(work)

    return mend


CHECKS = (check_ports, check_addresses, check_groups, check_hosts)
