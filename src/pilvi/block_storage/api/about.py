"""What the API tells of itself, and the parts of cinder that say clearly that they are not here."""

from __future__ import annotations

from typing import Any

from pilvi.block_storage import policy
from pilvi.block_storage.api.volumes import get
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Query, Resource

extensions = Resource("/v3/extensions")
resource_filters = Resource("/v3/resource_filters", since="3.33")
manage_volumes = Resource("/v3/os-volume-manage")
manage_snapshots = Resource("/v3/os-snapshot-manage")
manageable_volumes = Resource("/v3/manageable_volumes", since="3.8")
manageable_snapshots = Resource("/v3/manageable_snapshots", since="3.8")
workers = Resource("/v3/workers", since="3.24")
clusters = Resource("/v3/clusters", since="3.7")
volume_encryption = Resource("/v3/volumes/{volume_id}/encryption", tag="volumes")

EXTENSIONS = policy.everyone("volume_extension:extensions", "List the extensions.")
FILTERS = policy.everyone("volume_extension:resource_filters", "List by what lists can be filtered.")
MANAGE = policy.admin("volume_extension:volume_manage", "Take volumes in that lie in a back end.")
LIST_MANAGEABLE = policy.admin("volume_extension:list_manageable", "List volumes that could be taken in.")
SNAPSHOT_MANAGE = policy.admin("snapshot_extension:snapshot_manage", "Take snapshots in that lie in a back end.")
SNAPSHOT_MANAGEABLE = policy.admin("snapshot_extension:list_manageable", "List snapshots that could be taken in.")
CLEANUP = policy.admin("workers:cleanup", "Clean up after services that died.")
CLUSTERS = policy.admin("clusters:get_all", "List clusters.")
ENCRYPTION = policy.reader("volume_extension:volume_encryption_metadata", "See how a volume is encrypted.")

_EXTENSIONS = (
    ("AdminActions", "os-admin-actions"), ("AvailabilityZones", "os-availability-zone"), ("Backups", "backups"),
    ("Capabilities", "capabilities"), ("ExtendedSnapshotAttributes", "os-extended-snapshot-attributes"), ("Hosts", "os-hosts"),
    ("QuotaClasses", "os-quota-class-sets"), ("Quotas", "os-quota-sets"), ("QosSpecs", "qos-specs"), ("Scheduler_stats", "scheduler-stats"),
    ("SchedulerHints", "OS-SCH-HNT"), ("Services", "os-services"), ("SnapshotActions", "os-snapshot-actions"),
    ("TypesExtraSpecs", "os-types-extra-specs"), ("TypesManage", "os-types-manage"), ("UsedLimits", "os-used-limits"),
    ("VolumeActions", "os-volume-actions"), ("VolumeHostAttribute", "os-vol-host-attr"), ("VolumeImageMetadata", "os-vol-image-meta"),
    ("VolumeTenantAttribute", "os-vol-tenant-attr"), ("VolumeTransfer", "os-volume-transfer"),
    ("VolumeTypeAccess", "os-volume-type-access"), ("VolumeTypeEncryption", "encryption"),
)  # fmt: skip

_FILTERS = {
    "volume": ["name", "status", "metadata", "bootable", "migration_status", "availability_zone", "group_id", "size", "created_at", "updated_at"],
    "snapshot": ["status", "volume_id", "metadata", "name", "availability_zone", "user_id", "created_at", "updated_at"],
    "backup": ["name", "status", "volume_id", "created_at", "updated_at"], "attachment": ["volume_id", "status", "instance_id", "attach_status"],
    "message": ["resource_uuid", "resource_type", "event_id", "request_id", "message_level"], "pool": ["name", "volume_type"],
    "volume_type": ["is_public", "extra_specs"],
}  # fmt: skip


class FiltersQuery(Query, extra=True):
    resource: str | None = None


@extensions.get("", rule=EXTENSIONS, out="extensions")
def list_extensions(ctx: Context) -> list[dict[str, Any]]:
    return [
        {"name": name, "alias": alias, "description": f"{name} of block storage.", "updated": "2017-01-01T00:00:00+00:00", "links": []}
        for name, alias in _EXTENSIONS
    ]


@extensions.get("/{alias}", rule=EXTENSIONS, out="extension")
def show_extension(ctx: Context, alias: str) -> dict[str, Any]:
    for told in list_extensions(ctx):
        if told["alias"] == alias:
            return told
    raise NotFound(f"Extension {alias} could not be found.")


@resource_filters.get("", rule=FILTERS, out="resource_filters")
def list_filters(ctx: Context, query: FiltersQuery) -> list[dict[str, Any]]:
    chosen = [query.resource] if query.resource in _FILTERS else [] if query.resource else list(_FILTERS)
    return [{"resource": kind, "filters": _FILTERS[kind]} for kind in chosen if kind is not None]


def _refused(what: str) -> Invalid:
    return Invalid(f"Back ends here hold only {what} that this cloud has made: none can be taken in or left behind.")


@manage_volumes.post("", rule=MANAGE, answers=202)
def manage_volume(ctx: Context, volume: dict[str, Any]) -> None:
    raise _refused("volumes")


@manage_volumes.get("", rule=LIST_MANAGEABLE, out="manageable-volumes")
def list_manageable(ctx: Context) -> list[dict[str, Any]]:
    return []


@manage_volumes.get("/detail", rule=LIST_MANAGEABLE, out="manageable-volumes")
def detail_manageable(ctx: Context) -> list[dict[str, Any]]:
    return []


@manage_snapshots.post("", rule=SNAPSHOT_MANAGE, answers=202)
def manage_snapshot(ctx: Context, snapshot: dict[str, Any]) -> None:
    raise _refused("snapshots")


@manage_snapshots.get("", rule=SNAPSHOT_MANAGEABLE, out="manageable-snapshots")
def list_manageable_snapshots(ctx: Context) -> list[dict[str, Any]]:
    return []


@manage_snapshots.get("/detail", rule=SNAPSHOT_MANAGEABLE, out="manageable-snapshots")
def detail_manageable_snapshots(ctx: Context) -> list[dict[str, Any]]:
    return []


manageable_volumes.post("", rule=MANAGE, answers=202)(manage_volume)
manageable_volumes.get("", rule=LIST_MANAGEABLE, out="manageable-volumes")(list_manageable)
manageable_volumes.get("/detail", rule=LIST_MANAGEABLE, out="manageable-volumes")(detail_manageable)
manageable_snapshots.post("", rule=SNAPSHOT_MANAGE, answers=202)(manage_snapshot)
manageable_snapshots.get("", rule=SNAPSHOT_MANAGEABLE, out="manageable-snapshots")(list_manageable_snapshots)
manageable_snapshots.get("/detail", rule=SNAPSHOT_MANAGEABLE, out="manageable-snapshots")(detail_manageable_snapshots)


@workers.post("/cleanup", rule=CLEANUP, answers=202)
def cleanup(ctx: Context, body: dict[str, Any]) -> dict[str, Any]:
    """Work that a service left behind is resumed by the others without being told: there is nothing to clean up."""
    return {"cleaning": [], "unavailable": []}


@clusters.get("", rule=CLUSTERS, out="clusters")
def list_clusters(ctx: Context) -> list[dict[str, Any]]:
    """Back ends are not clustered."""
    return []


@clusters.get("/detail", rule=CLUSTERS, out="clusters")
def detail_clusters(ctx: Context) -> list[dict[str, Any]]:
    return []


@volume_encryption.get("", rule=ENCRYPTION)
def show_encryption(ctx: Context, volume_id: str) -> dict[str, Any]:
    """No volume here is encrypted."""
    get(ctx, volume_id)
    return {"encryption_key_id": None}
