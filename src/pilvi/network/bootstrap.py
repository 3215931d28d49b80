"""What a new cloud is born with, and what is looked after all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilvi.network.api.networks import CreateNetwork
from pilvi.network.api.shapes import PoolGiven
from pilvi.network.api.subnets import CreateSubnet
from pilvi.network.operations import default_groups, networks, reports, subnets
from pilvi.network.tables import Network

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction
    from pilvi.kernel.program import Program


def bootstrap(program: Program) -> None:
    """Have the template of security groups, and the external network of the settings, if they name one."""

    def plant(tx: Transaction) -> None:
        ctx = program.system_context(tx)
        default_groups.plant(ctx)
        wish = program.settings.network.external_network
        if not wish.name or tx.one(Network, Network.c.name == wish.name, Network.c.project_id == "") is not None:
            return
        made = networks.create(ctx, CreateNetwork(name=wish.name, external=True, is_default=True), "")
        first, _, last = wish.pool.partition("-")
        pools = [PoolGiven(start=first.strip(), end=last.strip())] if last else None
        body = CreateSubnet(
            name=f"{wish.name}-subnet", network_id=made.id, ip_version=6 if ":" in wish.cidr else 4, cidr=wish.cidr, gateway_ip=wish.gateway,
            allocation_pools=pools, enable_dhcp=False,
        )  # fmt: skip
        subnets.create(ctx, body, "")

    program.db.run(plant)


def heal(program: Program) -> None:
    """Place what has no living host."""
    program.db.run(lambda tx: reports.heal(program.system_context(tx)))
