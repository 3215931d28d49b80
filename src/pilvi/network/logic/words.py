"""The constants of the network API: device owners, modes, kinds of agents."""

from __future__ import annotations

import uuid

DHCP = "network:dhcp"
ROUTER_INTERFACE = "network:router_interface"
ROUTER_GATEWAY = "network:router_gateway"
FLOATING_IP = "network:floatingip"
ROUTER_OWNERS = (ROUTER_INTERFACE, ROUTER_GATEWAY)
NETWORK_OWNED = "network:"
COMPUTE = "compute:"
TRUNK_SUBPORT = "trunk:subport"

# kind -> (agent_type, binary, topic): what one host's agent does, as the agents API lists it
AGENTS = {
    "l2": ("Linux bridge agent", "neutron-linuxbridge-agent", "N/A"),
    "dhcp": ("DHCP agent", "neutron-dhcp-agent", "dhcp_agent"),
    "l3": ("L3 agent", "neutron-l3-agent", "l3_agent"),
    "metadata": ("Metadata agent", "neutron-metadata-agent", "N/A"),
}
_AGENTS = uuid.UUID("6f1c3a52-4b0e-4f9f-9d0a-6c1f0d7a8e11")


def agent_id(host: str, kind: str) -> str:
    """The stable id of a host's agent of that kind."""
    return str(uuid.uuid5(_AGENTS, f"{host}/{kind}"))


def dhcp_device_id(host: str, network_id: str) -> str:
    """The device_id of a network's DHCP port."""
    return f"dhcp{uuid.uuid5(uuid.NAMESPACE_DNS, host)}-{network_id}"
