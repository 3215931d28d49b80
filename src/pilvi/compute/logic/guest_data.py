"""Guest data: one description of a server, in EC2's form and in OpenStack's, for metadata service and config drive alike."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Sequence
from typing import Any

import msgspec

from pilvi.compute.tables.servers import Device, Server

# versions that guests ask for; each newer one added something
EC2_VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04",
)  # fmt: skip
OPENSTACK_VERSIONS = (
    "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14",
)  # fmt: skip
_BUSES = {"virtio": "virtio", "scsi": "scsi", "sata": "sata", "ide": "ide", "usb": "usb"}


class Guest(msgspec.Struct):
    """All that a guest may know of itself.  `ports` and `addresses` are as the network's door tells them."""

    server: Server
    devices: Sequence[Device]
    ports: Sequence[Any]
    addresses: Sequence[Any]
    groups: Sequence[str]
    zone: str
    domain: str
    vendor_data: dict[str, str]

    @property
    def fqdn(self) -> str:
        name = self.server.hostname
        return name if "." in name or not self.domain else f"{name}.{self.domain}"


def ec2_id(prefix: str, ref: str) -> str:
    """An EC2 id, made of a uuid: i-0123abcd."""
    return f"{prefix}-{ref.replace('-', '')[:8]}"


def user_data(guest: Guest) -> bytes | None:
    """The user data as the guest gets it, decoded."""
    return base64.b64decode(guest.server.user_data) if guest.server.user_data is not None else None


# -- EC2's form --------------------------------------------------------------------------------------


def ec2_tree(guest: Guest) -> dict[str, Any]:
    """meta-data as a tree: folders are dicts, keys are text or lists of lines."""
    server = guest.server
    fixed = [one.address for one in guest.addresses if one.type == "fixed" and one.version == 4]
    floating = [one.address for one in guest.addresses if one.type == "floating"]
    tree: dict[str, Any] = {
        "ami-id": ec2_id("ami", server.image_id) if server.image_id else "None",
        "ami-launch-index": str(server.launch_index),
        "ami-manifest-path": "unknown",
        "block-device-mapping": _ec2_devices(guest),
        "hostname": guest.fqdn,
        "instance-action": "none",
        "instance-id": ec2_id("i", server.id),
        "instance-type": server.flavor.name,
        "local-hostname": guest.fqdn,
        "local-ipv4": fixed[0] if fixed else "",
        "placement": {"availability-zone": guest.zone},
        "public-hostname": guest.fqdn,
        "public-ipv4": floating[0] if floating else "",
        "reservation-id": server.reservation_id,
        "security-groups": "\n".join(guest.groups),
    }
    if server.key_name and server.key_data:
        tree["public-keys"] = {"0": {"_name": f"0={server.key_name}", "openssh-key": server.key_data}}
    for name, prefix in (("kernel_id", "aki"), ("ramdisk_id", "ari")):
        if server.image.properties.get(name):
            tree[name.replace("_id", "-id")] = ec2_id(prefix, server.image.properties[name])
    return tree


def _ec2_devices(guest: Guest) -> dict[str, str]:
    """ami and root are the root disk; ephemeralN, swap and ebsN what else there is."""
    found = {"ami": guest.server.root_device.removeprefix("/dev/"), "root": guest.server.root_device}
    ephemerals = volumes = 0
    for device in guest.devices:
        if device.boot_index == 0:
            continue
        if device.filesystem == "swap":
            found["swap"] = device.device
        elif device.destination == "volume":
            found[f"ebs{volumes}"] = device.device
            volumes += 1
        else:
            found[f"ephemeral{ephemerals}"] = device.device
            ephemerals += 1
    return found


def ec2_listing(tree: dict[str, Any]) -> str:
    """The keys of a folder as EC2 lists them: folders end in a slash, keys of people are named."""
    lines = []
    for name in sorted(tree):
        value = tree[name]
        if name == "_name":
            continue
        if isinstance(value, dict):
            lines.append(value.get("_name", f"{name}/"))
        else:
            lines.append(name)
    return "\n".join(lines)


# -- OpenStack's form --------------------------------------------------------------------------------


def meta_data(guest: Guest, version: str = "latest", *, drive: bool = False) -> dict[str, Any]:
    """meta_data.json; the password is told by the config drive only, which nobody else reads."""
    server = guest.server
    told: dict[str, Any] = {
        "uuid": server.id,
        "name": server.name,
        "hostname": guest.fqdn,
        "launch_index": server.launch_index,
        "availability_zone": guest.zone,
    }
    if server.metadata:
        told["meta"] = server.metadata
    if server.key_name and server.key_data:
        told["public_keys"] = {server.key_name: server.key_data}
        told["keys"] = [{"name": server.key_name, "type": server.key_type, "data": server.key_data}]
    if server.wishes.files:
        told["files"] = [{"content_path": f"/content/{at:04d}", "path": path} for at, path in enumerate(server.wishes.files)]
    if _has(version, "2013-04-04"):
        told["random_seed"] = base64.b64encode(_seed(server)).decode()
    if _has(version, "2015-10-15"):
        told["project_id"] = server.project_id
    if _has(version, "2016-06-30"):
        told["devices"] = _devices(guest)
    if _has(version, "2017-02-22"):
        told["dedicated_cpus"] = []
    if drive and server.secrets.get("admin_password"):
        told["admin_pass"] = server.secrets["admin_password"]
    return told


def _seed(server: Server) -> bytes:
    """512 bytes for the guest's random numbers: the same at each reading, so that a config drive made again is the same."""
    return hashlib.shake_256(f"{server.id} {server.generation} {server.secrets.get('seed', '')}".encode()).digest(512)


def _devices(guest: Guest) -> list[dict[str, Any]]:
    """The tagged devices, by which a guest finds what it was told of by role."""
    found: list[dict[str, Any]] = []
    macs = {port.id: port.mac for port in guest.ports}
    for nic in guest.server.nics:
        if nic.tag:
            found.append({"type": "nic", "bus": "none", "mac": macs.get(nic.port_id, ""), "tags": [nic.tag]})
    for device in guest.devices:
        if device.tag:
            serial = device.volume_id or device.id
            path = device.device
            found.append({"type": "disk", "bus": _BUSES.get(device.bus, "none"), "serial": serial, "path": path, "tags": [device.tag]})
    return found


def network_data(guest: Guest) -> dict[str, Any]:
    """network_data.json: links, networks with addresses and routes, and name servers."""
    links, networks, services = [], [], {}
    by_id = {port.id: port for port in guest.ports}
    for nic in guest.server.nics:
        port = by_id.get(nic.port_id)
        if port is None:
            continue
        links.append({"id": port.tap, "vif_id": port.id, "type": "bridge", "mtu": port.mtu, "ethernet_mac_address": port.mac})
        for subnet_id, address, prefix in port.fixed_ips:
            networks.append(_network(f"network{len(networks)}", port, subnet_id, address, prefix))
            for server in port.dns.get(subnet_id, ()):
                services[server] = {"type": "dns", "address": server}
    return {"links": links, "networks": networks, "services": list(services.values())}


def _network(name: str, port: Any, subnet_id: str, address: str, prefix: int) -> dict[str, Any]:
    """One address of a port, with its routes unless DHCP tells them."""
    version = ipaddress.ip_address(address).version
    told: dict[str, Any] = {"id": name, "network_id": port.network_id, "link": port.tap}
    if port.dhcp.get(subnet_id):
        return told | {"type": "ipv4_dhcp" if version == 4 else "ipv6_dhcp"}
    told |= {"type": f"ipv{version}", "ip_address": address, "routes": []}
    told["netmask"] = str(ipaddress.ip_network(f"{address}/{prefix}", strict=False).netmask)
    gateway = port.gateways.get(subnet_id, "")
    if gateway:
        anywhere = "0.0.0.0" if version == 4 else "::"
        told["gateway"] = gateway
        told["routes"].append({"network": anywhere, "netmask": anywhere, "gateway": gateway})
    for destination, nexthop in port.routes.get(subnet_id, ()):
        net = ipaddress.ip_network(destination)
        told["routes"].append({"network": str(net.network_address), "netmask": str(net.netmask), "gateway": nexthop})
    servers = port.dns.get(subnet_id, ())
    if servers:
        told["services"] = [{"type": "dns", "address": server} for server in servers]
    return told


def vendor_data(guest: Guest) -> dict[str, Any]:
    """vendor_data.json: what the operator gives every guest."""
    return dict(guest.vendor_data)


def _has(version: str, since: str) -> bool:
    return version == "latest" or version >= since


# -- the config drive --------------------------------------------------------------------------------


def files(guest: Guest) -> dict[str, bytes]:
    """Every file of the config drive: both forms, as the metadata service would answer."""
    found: dict[str, bytes] = {}
    raw = user_data(guest)
    plain = _plain(ec2_tree(guest))
    for version in (*EC2_VERSIONS[-1:], "latest"):
        found[f"ec2/{version}/meta-data.json"] = _json(plain)
        if raw is not None:
            found[f"ec2/{version}/user-data"] = raw
    for version in (*OPENSTACK_VERSIONS, "latest"):
        at = f"openstack/{version}"
        found[f"{at}/meta_data.json"] = _json(meta_data(guest, version, drive=True))
        if raw is not None:
            found[f"{at}/user_data"] = raw
        if _has(version, "2013-10-17"):
            found[f"{at}/vendor_data.json"] = _json(vendor_data(guest))
        if _has(version, "2015-10-15"):
            found[f"{at}/network_data.json"] = _json(network_data(guest))
        if _has(version, "2016-10-06"):
            found[f"{at}/vendor_data2.json"] = _json({"static": vendor_data(guest)} if guest.vendor_data else {})
    for at, content in enumerate(guest.server.wishes.files.values()):
        found[f"openstack/content/{at:04d}"] = content
    return found


def _plain(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, dict) else value for name, value in tree.items() if name != "_name"}


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
