"""The resources beside servers, in one list for the manifest, and the rights that no route names."""

from __future__ import annotations

from pilvi.compute.api import (
    aggregates, audit_logs, availability_zones, extensions, flavors, floating_ips, gone, hosts, hypervisors, images, keypairs, limits,
    migrations, networks, quota_sets, security_groups, server_groups, services, usage, versions,
)  # fmt: skip

RESOURCES = [
    versions.versions,
    extensions.extensions,
    flavors.flavors,
    keypairs.keypairs,
    server_groups.server_groups,
    aggregates.aggregates,
    services.services,
    hosts.hosts,
    hypervisors.hypervisors,
    availability_zones.availability_zones,
    quota_sets.quota_sets,
    quota_sets.quota_class_sets,
    limits.limits,
    usage.usage,
    audit_logs.audit_logs,
    migrations.migrations,
    security_groups.security_groups,
    security_groups.security_group_rules,
    floating_ips.floating_ips,
    floating_ips.pools,
    floating_ips.actions,
    images.images,
    images.metadata,
    networks.networks,
    networks.tenant_networks,
    *gone.RESOURCES,
]
OTHERS = [*server_groups.EXTRA_RULES, *limits.EXTRA_RULES]
