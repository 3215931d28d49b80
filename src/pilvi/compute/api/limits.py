"""Limits over HTTP: what a project may have, and what it has."""

from __future__ import annotations

from typing import Any

from pilvi.compute import policy
from pilvi.compute.operations import quotas as operations
from pilvi.compute.tables.server_groups import ServerGroup
from pilvi.kernel.context import Context
from pilvi.kernel.http import Query, Resource, Version
from pilvi.network import for_compute as network

limits = Resource("/v2.1/limits", tag="limits")

SHOW = policy.everyone("limits", "Show one's own limits.")
OTHERS = policy.admin("limits:other_project", "Show another project's limits.")
EXTRA_RULES = [OTHERS]

# name in the answer -> quota, and the last version that has it
_NAMES: tuple[tuple[str, str, Version | None], ...] = (
    ("maxTotalInstances", "instances", None),
    ("maxTotalCores", "cores", None),
    ("maxTotalRAMSize", "ram", None),
    ("maxServerMeta", "metadata_items", None),
    ("maxImageMeta", "metadata_items", Version(2, 38)),
    ("maxPersonality", "injected_files", Version(2, 56)),
    ("maxPersonalitySize", "injected_file_content_bytes", Version(2, 56)),
    ("maxTotalKeypairs", "key_pairs", None),
    ("maxServerGroups", "server_groups", None),
    ("maxServerGroupMembers", "server_group_members", None),
)


class LimitsQuery(Query, extra="2.74"):
    """Whose limits; another project's are for administrators."""

    tenant_id: str | None = None
    reserved: str | None = None  # nothing is reserved here: what is used is counted


@limits.get("", rule=SHOW, out="limits")
def show(ctx: Context, query: LimitsQuery) -> dict[str, Any]:
    """Show limits and use."""
    assert ctx.version is not None
    project_id = query.tenant_id or ctx.project_id
    if project_id != ctx.project_id:
        ctx.allow(OTHERS.name, {"project_id": project_id})
    most = operations.quotas(ctx.program).limits(ctx.db, project_id)
    used = operations.used(ctx, project_id)
    told: dict[str, int] = {name: most[quota] for name, quota, last in _NAMES if last is None or ctx.version <= last}
    told |= {
        "totalInstancesUsed": used["instances"], "totalCoresUsed": used["cores"], "totalRAMUsed": used["ram"],
        "totalServerGroupsUsed": ctx.db.count(ServerGroup, ServerGroup.c.project_id == project_id),
    }  # fmt: skip
    if ctx.version < Version(2, 36):
        limits_, taken = network.limits(ctx, project_id), network.used(ctx, project_id, ("floating_ips", "security_groups"))
        told |= {
            "maxTotalFloatingIps": limits_["floating_ips"], "maxSecurityGroups": limits_["security_groups"],
            "maxSecurityGroupRules": limits_["security_group_rules"], "totalFloatingIpsUsed": taken["floating_ips"],
            "totalSecurityGroupsUsed": taken["security_groups"],
        }  # fmt: skip
    return {"rate": [], "absolute": told}
