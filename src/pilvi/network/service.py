"""The manifest of the network service."""

from __future__ import annotations

from pilvi.kernel.service import Service
from pilvi.kernel.workflows import Periodic
from pilvi.network import agent, bootstrap, conductor
from pilvi.network.api import (
    address_groups,
    agents,
    floating_ips,
    networks,
    port_bindings,
    ports,
    quotas,
    routers,
    security_groups,
    sharing,
    subnet_pools,
    subnets,
    tags,
    topology,
    trunks,
    versions,
)  # fmt: skip
from pilvi.network.checks import CHECKS
from pilvi.network.dialect import DIALECT
from pilvi.network.policy import RULES
from pilvi.network.roles import serve_conductor, serve_network
from pilvi.network.tables import Agent
from pilvi.network.workflows import RealizeGroup, RealizeNetwork, RealizePort, RealizeRouter

TAGGED = [
    networks.COLLECTION, subnets.COLLECTION, ports.COLLECTION, routers.COLLECTION, floating_ips.COLLECTION, security_groups.GROUPS,
    subnet_pools.POOLS, trunks.COLLECTION,
]  # fmt: skip
COLLECTIONS = [
    *TAGGED, security_groups.RULES, security_groups.DEFAULTS, address_groups.COLLECTION, subnet_pools.SCOPES, sharing.COLLECTION,
]  # fmt: skip

SERVICE = Service(
    name="network",
    type="network",
    title="neutron",
    path="/network",
    port=9696,
    catalog="",
    dialect=DIALECT,
    resources=[
        versions.root, versions.v2, versions.extensions, *(one.resource for one in COLLECTIONS), *(tags.resource_of(one) for one in TAGGED),
        port_bindings.bindings,
        floating_ips.forwardings, floating_ips.pools, quotas.quotas, agents.agents, agents.zones, agents.dhcp_agents, agents.l3_agents,
        topology.auto, topology.availability, topology.providers,
    ],
    rules=list(RULES.values()),
    workflows=[RealizeGroup, RealizeNetwork, RealizePort, RealizeRouter],
    periodic=[Periodic("network-heal", 30.0, bootstrap.heal)],
    roles={"conductor": serve_conductor, "network": serve_network},
    agents_call=[conductor.TOPIC],
    agents_serve=[agent.TOPIC],
    heartbeats=[Agent.c.heartbeat_at],
    bootstrap=bootstrap.bootstrap,
    checks=CHECKS,
)
