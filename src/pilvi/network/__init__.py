"""The network service (Neutron): networks, subnets, ports, routers, floating IPs, security groups.

This is the door: what other services may call.
"""

from pilvi.network.door import (
    add_group,
    adopt_port,
    bind_port,
    create_port,
    delete_port,
    plug,
    release_port,
    remove_group,
    request_networks,
    set_metadata_handler,
    unbind_port,
    unplug,
)  # fmt: skip
from pilvi.network.door_moves import abandon_move, finish_move, out_of_reach, prepare_move
from pilvi.network.door_structs import Address, NetworkRequest, PortInfo
from pilvi.network.events import FloatingIpChanged, PortChanged, PortDeleted
from pilvi.network.metadata import MetadataAnswer, MetadataRequest
from pilvi.network.operations import fixed_addresses, for_compute
from pilvi.network.roles import namespace
from pilvi.network.views_for_servers import addresses_of, find_port_by_source, groups_of, ports_of

__all__ = [
    "Address", "FloatingIpChanged", "MetadataAnswer", "MetadataRequest", "NetworkRequest", "PortChanged", "PortDeleted", "PortInfo",
    "abandon_move", "add_group", "addresses_of", "adopt_port", "bind_port", "create_port", "delete_port", "find_port_by_source", "finish_move",
    "fixed_addresses", "for_compute", "groups_of", "namespace", "out_of_reach", "plug", "ports_of", "prepare_move", "release_port",
    "remove_group", "request_networks", "set_metadata_handler", "unbind_port", "unplug",
]  # fmt: skip
