"""A network for a project that asks for any: made once, of the default external network and default subnet pools."""

from __future__ import annotations

import sqlalchemy as sa

from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.network.api.networks import CreateNetwork
from pilvi.network.api.routers import CreateRouter
from pilvi.network.api.subnets import CreateSubnet
from pilvi.network.errors import AutoAllocationFailure
from pilvi.network.operations import interfaces, networks, routers, subnets
from pilvi.network.tables import AutoTopology, Network, Router, Subnet, SubnetPool

NAME = "auto_allocated"


def ensure(ctx: Context, project_id: str) -> AutoTopology:
    """The project's own topology, made now when it has none.  Raises AutoAllocationFailure."""
    found = ctx.db.get(AutoTopology, project_id)
    if found is not None and ctx.db.get(Network, found.network_id) is not None:
        return found
    outside, pools = requirements(ctx)
    network = networks.create(ctx, CreateNetwork(name=f"{NAME}_network"), project_id)
    router = routers.create(ctx, CreateRouter(name=f"{NAME}_router", external_gateway_info={"network_id": outside.id}), project_id)
    for pool in pools:
        body = CreateSubnet(name=f"{NAME}_subnet_v{pool.ip_version}", network_id=network.id, ip_version=pool.ip_version, subnetpool_id=pool.id)  # type: ignore[arg-type]
        subnet = subnets.create(ctx.system(), body, project_id)
        interfaces.add(ctx, router, subnet.id, None)
    return ctx.db.put(AutoTopology(project_id=project_id, network_id=network.id, router_id=router.id))


def requirements(ctx: Context) -> tuple[Network, list[SubnetPool]]:
    """The default external network and the default subnet pools.  Raises AutoAllocationFailure naming what is missing."""
    outside = ctx.db.one(Network, Network.c.is_default == sa.true(), Network.c.external == sa.true())
    pools = ctx.db.all(SubnetPool, SubnetPool.c.is_default == sa.true(), order=[SubnetPool.c.ip_version])
    missing = [name for name, there in (("a default external network", outside), ("a default subnet pool", pools)) if not there]
    if missing or outside is None:
        raise AutoAllocationFailure(f"Deployment error: Unable to auto-allocate networking without {' and '.join(missing)}; an admin can name them.")
    return outside, pools


def delete(ctx: Context, project_id: str) -> None:
    """Have the project's own topology gone.  Raises NotFound, and conflicts when servers use it."""
    found = ctx.db.get(AutoTopology, project_id)
    if found is None:
        raise NotFound(f"The project {project_id} has no auto-allocated topology.")
    router, network = ctx.db.get(Router, found.router_id), ctx.db.get(Network, found.network_id)
    if router is not None and network is not None:
        for subnet in ctx.db.all(Subnet, Subnet.c.network_id == network.id):
            interfaces.remove(ctx, router, subnet.id, None)
    if router is not None:
        routers.delete(ctx, router)
    if network is not None:
        networks.delete(ctx, network)
    ctx.db.remove(found)
