"""What a client gets of a server, over all microversions."""

from __future__ import annotations

from pilvi.kernel.http import UNSET, Given, Query, View, since, wire


class FlavorView(View):
    """The flavor as the server took it (since 2.47)."""

    vcpus: int
    ram: int
    disk: int
    ephemeral: int
    swap: int
    original_name: str
    extra_specs: dict[str, str] | Given = UNSET


class ServerBrief(View):
    """A server in a short list."""

    id: str
    name: str
    links: list[dict[str, str]]


class ServerView(View):
    """A server in full."""

    id: str
    name: str
    status: str
    tenant_id: str
    user_id: str
    metadata: dict[str, str]
    host_id: str = wire("hostId")
    image: dict[str, object] | str
    flavor: FlavorView | dict[str, object]
    created: str
    updated: str
    addresses: dict[str, list[dict[str, object]]]
    access_v4: str = wire("accessIPv4")
    access_v6: str = wire("accessIPv6")
    links: list[dict[str, str]]
    disk_config: str = wire("OS-DCF:diskConfig")
    progress: int | Given = UNSET
    zone: str = wire("OS-EXT-AZ:availability_zone")
    pinned_zone: str | None = since("2.96", name="pinned_availability_zone")
    config_drive: str
    key_name: str | None
    launched_at: str | None = wire("OS-SRV-USG:launched_at")
    terminated_at: str | None = wire("OS-SRV-USG:terminated_at")
    security_groups: list[dict[str, str]] | Given = UNSET
    volumes: list[dict[str, object]] = wire("os-extended-volumes:volumes_attached")
    fault: dict[str, object] | Given = UNSET
    vm_state: str = wire("OS-EXT-STS:vm_state")
    task_state: str | None = wire("OS-EXT-STS:task_state")
    power_state: int = wire("OS-EXT-STS:power_state")
    host: str | Given | None = wire("OS-EXT-SRV-ATTR:host", default=UNSET)
    node: str | Given | None = wire("OS-EXT-SRV-ATTR:hypervisor_hostname", default=UNSET)
    instance_name: str | Given = wire("OS-EXT-SRV-ATTR:instance_name", default=UNSET)
    reservation_id: str | Given = since("2.3", default=UNSET, name="OS-EXT-SRV-ATTR:reservation_id")
    launch_index: int | Given = since("2.3", default=UNSET, name="OS-EXT-SRV-ATTR:launch_index")
    hostname: str | Given = since("2.3", default=UNSET, name="OS-EXT-SRV-ATTR:hostname")
    hints: dict[str, object] | Given = since("2.100", default=UNSET, name="scheduler_hints")
    kernel_id: str | Given = since("2.3", default=UNSET, name="OS-EXT-SRV-ATTR:kernel_id")
    ramdisk_id: str | Given = since("2.3", default=UNSET, name="OS-EXT-SRV-ATTR:ramdisk_id")
    root_device: str | Given = since("2.3", default=UNSET, name="OS-EXT-SRV-ATTR:root_device_name")
    user_data: str | Given | None = since("2.3", default=UNSET, name="OS-EXT-SRV-ATTR:user_data")
    locked: bool | Given = since("2.9")
    host_status: str | Given = since("2.16", default=UNSET)
    description: str | Given | None = since("2.19")
    tags: list[str] | Given = since("2.26")
    certificates: list[str] | Given | None = since("2.63", name="trusted_image_certificates")
    server_groups: list[str] | Given = since("2.71")
    locked_reason: str | Given | None = since("2.73")


class CreatedView(View):
    """What one is told of a server that has just been asked for."""

    id: str
    links: list[dict[str, str]]
    disk_config: str = wire("OS-DCF:diskConfig")
    security_groups: list[dict[str, str]]
    password: str | Given = wire("adminPass", default=UNSET)


class ServersQuery(Query, extra=True):
    """Filters, order and page of a list of servers."""

    all_tenants: str | None = None
    limit: str | None = None
    marker: str | None = None
    sort_key: list[str] = wire(factory=list)
    sort_dir: list[str] = wire(factory=list)
    changes_since: str | None = wire("changes-since", default=None)
    changes_before: str | None = since("2.66", name="changes-before", default=None)
    deleted: str | None = None
    status: list[str] = wire(factory=list)
    name: str | None = None
    flavor: str | None = None
    image: str | None = None
    host: str | None = None
    node: str | None = None
    hostname: str | None = None
    ip: str | None = None
    ip6: str | None = None
    uuid: str | None = None
    project_id: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    reservation_id: str | None = None
    metadata: str | None = None
    availability_zone: str | None = None
    config_drive: str | None = None
    key_name: str | None = None
    description: str | None = None
    created_at: str | None = None
    launched_at: str | None = None
    terminated_at: str | None = None
    launch_index: str | None = None
    power_state: str | None = None
    vm_state: str | None = None
    task_state: str | None = None
    progress: str | None = None
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    root_device_name: str | None = None
    kernel_id: str | None = None
    ramdisk_id: str | None = None
    auto_disk_config: str | None = None
    disk_config: str | None = None
    locked: str | None = since("2.73", default=None)
    tags: str | None = since("2.26", default=None)
    tags_any: str | None = since("2.26", name="tags-any", default=None)
    not_tags: str | None = since("2.26", name="not-tags", default=None)
    not_tags_any: str | None = since("2.26", name="not-tags-any", default=None)
    soft_deleted: str | None = None

