"""Settings of the network service: the section `[network]`."""

from __future__ import annotations

import msgspec


class OutsideNetwork(msgspec.Struct, forbid_unknown_fields=True):
    """An external network that a new cloud is born with; nothing is made while `name` is empty."""

    name: str = ""
    cidr: str = "172.24.4.0/24"
    gateway: str = "172.24.4.1"
    pool: str = ""  # "first-last"; "": all of it


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What an operator can say of networks."""

    driver: str = "linux"
    bridge_mappings: dict[str, str] = msgspec.field(default_factory=lambda: {"public": ""})
    vxlan_range: tuple[int, int] = (1, 65535)
    vlan_ranges: dict[str, tuple[int, int]] = {}  # physical network -> first and last VLAN id for project networks
    project_network_type: str = "vxlan"  # vxlan or local
    mtu: int = 1500  # of the wires between the hosts
    tunnel_address: str = "127.0.0.1"
    namespace: str = ""  # network namespace of bridges and taps; "": made from the state folder
    dns_domain: str = "openstacklocal."
    dns_servers: list[str] = []
    outside: bool = True  # the machine itself is the gateway of external networks whose wire ends within it
    masquerade: bool = False  # and passes their packets on under its own address
    external_network: OutsideNetwork = msgspec.field(default_factory=OutsideNetwork)
    availability_zone: str = "nova"
    agent_down_after: float = 75.0  # seconds without a heartbeat
    heartbeat_every: float = 30.0
    heal_every: float = 120.0
    max_fixed_ips_per_port: int = 50
    max_allowed_address_pairs: int = 10
    max_dns_nameservers: int = 5
    max_host_routes: int = 20
    max_routes: int = 30
    quotas: dict[str, int] = {}
