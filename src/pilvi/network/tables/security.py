"""Security groups, their rules, the template of new groups, and address groups."""

from __future__ import annotations

from pilvi.kernel.db import Ref, Word
from pilvi.network.tables.records import Record


class SecurityGroup(Record, table="network_security_groups", indexes=[("project_id",)], unique=[("default_of",)]):
    """A security group.  `default_of` names the project whose default it is, so that there is one."""

    stateful: bool = True
    default_of: Ref | None = None


class SecurityRule(Record, table="network_security_rules", indexes=[("security_group_id",), ("project_id",), ("remote_group_id",)]):
    """What a group lets pass."""

    security_group_id: Ref
    direction: Word
    ethertype: Word = "IPv4"
    protocol: Word | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: Word | None = None
    normalized_cidr: Word | None = None
    remote_group_id: Ref | None = None
    remote_address_group_id: Ref | None = None


class DefaultRule(Record, table="network_default_rules"):
    """A rule that new groups are born with; `remote_group_id` "PARENT" is the group itself."""

    direction: Word
    ethertype: Word = "IPv4"
    protocol: Word | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: Word | None = None
    remote_group_id: Ref | None = None
    remote_address_group_id: Ref | None = None
    used_in_default_sg: bool = False
    used_in_non_default_sg: bool = True


class AddressGroup(Record, table="network_address_groups", indexes=[("project_id",)]):
    """Addresses that rules refer to by one name."""

    addresses: list[str] = []
