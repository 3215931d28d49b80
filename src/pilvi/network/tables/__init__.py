"""What the network service remembers."""

from pilvi.network.tables.agents import Agent
from pilvi.network.tables.networks import AddressScope, Network, Pool, Route, Subnet, SubnetPool
from pilvi.network.tables.ports import Allocation, FixedIp, Pair, Port, PortGroup
from pilvi.network.tables.records import Owned, Record
from pilvi.network.tables.routers import FloatingIp, PortForwarding, Router
from pilvi.network.tables.security import AddressGroup, DefaultRule, SecurityGroup, SecurityRule
from pilvi.network.tables.sharing import AutoTopology, Share
from pilvi.network.tables.trunks import SubPort, Trunk

__all__ = [
    "AddressGroup", "AddressScope", "Agent", "Allocation", "AutoTopology", "DefaultRule", "FixedIp", "FloatingIp", "Network", "Owned",
    "Pair", "Pool", "Port", "PortForwarding", "PortGroup", "Record", "Route", "Router", "SecurityGroup", "SecurityRule", "Share",
    "SubPort", "Subnet", "SubnetPool", "Trunk",
]  # fmt: skip
