"""Extensions over HTTP: a fixed list, kept for old clients; all that compute can do is part of its one API."""

from __future__ import annotations

from typing import Any

from pilvi.compute import policy
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.kernel.http import Listing, Resource

extensions = Resource("/v2.1/extensions", tag="extensions")
LIST = policy.everyone("extensions", "List extensions.")

_NAMES = {
    "os-aggregates": "Aggregates", "os-attach-interfaces": "AttachInterfaces", "os-availability-zone": "AvailabilityZone",
    "os-config-drive": "ConfigDrive", "os-console-output": "ConsoleOutput", "os-consoles": "Consoles", "os-create-server-ext": "Createserverext",
    "os-extended-availability-zone": "ExtendedAvailabilityZone", "os-extended-status": "ExtendedStatus", "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs", "os-flavor-manage": "FlavorManage", "os-hosts": "Hosts", "os-hypervisors": "Hypervisors",
    "os-instance-actions": "InstanceActions", "os-keypairs": "Keypairs", "os-lock-server": "LockServer", "os-migrations": "Migrations",
    "os-multiple-create": "MultipleCreate", "os-pause-server": "PauseServer", "os-quota-class-sets": "QuotaClasses", "os-quota-sets": "Quotas",
    "os-rescue": "Rescue", "os-scheduler-hints": "SchedulerHints", "os-security-groups": "SecurityGroups", "os-server-groups": "ServerGroups",
    "os-server-password": "ServerPassword", "os-services": "Services", "os-shelve": "Shelve", "os-simple-tenant-usage": "SimpleTenantUsage",
    "os-suspend-server": "SuspendServer", "os-user-data": "UserData", "os-volumes": "Volumes",
}  # fmt: skip


_NAMESPACE = "http://docs.openstack.org/compute/ext/fake_xml"  # what clients have always been told


def _view(alias: str) -> dict[str, Any]:
    name = _NAMES[alias]
    return {"alias": alias, "name": name, "description": name, "links": [], "namespace": _NAMESPACE, "updated": "2014-12-03T00:00:00Z"}


@extensions.get("", rule=LIST, out="extensions")
def index(ctx: Context) -> Listing:
    """List extensions."""
    return Listing([_view(alias) for alias in sorted(_NAMES)])


@extensions.get("/{alias}", rule=LIST, out="extension")
def show(ctx: Context, alias: str) -> dict[str, Any]:
    """Show an extension."""
    if alias not in _NAMES:
        raise NotFound(f"There is no extension {alias[:100]}.")
    return _view(alias)
