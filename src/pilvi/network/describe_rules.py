"""Security group rules as drivers are told them: every remote side turned into addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pilvi.network import drivers
from pilvi.network.tables import AddressGroup, Allocation, Port, PortGroup, SecurityRule

if TYPE_CHECKING:
    from pilvi.kernel.db import Transaction


def rules_of(tx: Transaction, group_ids: Sequence[str]) -> dict[str, list[drivers.Rule]]:
    """The rules of each group."""
    rows = tx.by(SecurityRule, SecurityRule.c.security_group_id, group_ids)
    members = _members(tx, sorted({row.remote_group_id for row in rows if row.remote_group_id}))
    named_ids = [row.remote_address_group_id for row in rows if row.remote_address_group_id]
    named = {row.id: row for row in tx.by(AddressGroup, AddressGroup.c.id, named_ids)}
    found: dict[str, list[drivers.Rule]] = {}
    for row in rows:
        remote: list[str] | None = None
        version = 4 if row.ethertype == "IPv4" else 6
        if row.remote_group_id:
            remote = members.get((row.remote_group_id, version), [])
        elif row.remote_address_group_id:
            group = named.get(row.remote_address_group_id)
            remote = [one for one in group.addresses if (6 if ":" in one else 4) == version] if group else []
        elif row.normalized_cidr:
            remote = [row.normalized_cidr]
        found.setdefault(row.security_group_id, []).append(
            drivers.Rule(
                direction=row.direction, ether=row.ethertype, protocol=protocol_name(row.protocol, version),  # type: ignore[arg-type]
                port_min=row.port_range_min, port_max=row.port_range_max, remote=remote,
            )
        )  # fmt: skip
    return found


def protocol_name(protocol: str | None, version: int) -> str:
    """A protocol as drivers know it: ICMP of IPv6 has several names."""
    if protocol in ("icmpv6", "ipv6-icmp", "58"):
        return "ipv6-icmp"
    if protocol == "icmp" and version == 6:
        return "ipv6-icmp"
    return "" if protocol in (None, "any", "0") else str(protocol)


def _members(tx: Transaction, group_ids: Sequence[str]) -> dict[tuple[str, int], list[str]]:
    """Addresses of the bound ports of groups, by group and IP version.

    They are many, and asked for with every port that is plugged: addresses are read as such, not out of their ports.
    """
    found: dict[tuple[str, int], set[str]] = {}
    pairs = sa.type_coerce(Port.c.allowed_address_pairs, sa.Text)
    for start in range(0, len(group_ids), 500):
        bound = (
            PortGroup.c.port_id == Port.c.id, PortGroup.c.group_id.in_(group_ids[start : start + 500]), Port.c.host_id != "",
        )  # fmt: skip
        held = tx.rows(sa.select(PortGroup.c.group_id, Allocation.c.address).where(*bound, Allocation.c.port_id == Port.c.id))
        more = tx.rows(sa.select(PortGroup.c.group_id, Port.c.allowed_address_pairs).where(*bound, pairs != "[]"))
        for group_id, address in [*held, *((group_id, pair.ip_address) for group_id, some in more for pair in some)]:
            bits = "" if "/" in address else "/128" if ":" in address else "/32"
            found.setdefault((group_id, 6 if ":" in address else 4), set()).add(address + bits)
    return {key: sorted(held) for key, held in found.items()}
