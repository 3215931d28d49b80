"""What the tests of the network service say often."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.testing.cloud import Cloud, Told
from pilvi.kernel.workflows.store import Work

_MANY = {"rbac_policy": "rbac-policies"}


def path(one: str) -> str:
    """The path of a kind's collection."""
    return "/network/v2.0/" + (_MANY.get(one) or one.replace("_", "-") + "s")


def ask(cloud: Cloud, one: str, *, person: str = "member", **values: Any) -> Told:
    """Ask to make one; names may have double underscores for colons."""
    body = {name.replace("__", ":"): value for name, value in values.items()}
    return cloud.post(path(one), {one: body}, person=person)


def make(cloud: Cloud, one: str, *, person: str = "member", **values: Any) -> dict[str, Any]:
    """Make one."""
    told = ask(cloud, one, person=person, **values)
    assert told.status == 201, told
    return told.json()[one]


def change(cloud: Cloud, one: str, ref: str, *, person: str = "member", **values: Any) -> Told:
    """Ask to change one."""
    body = {name.replace("__", ":"): value for name, value in values.items()}
    return cloud.put(f"{path(one)}/{ref}", {one: body}, person=person)


def show(cloud: Cloud, one: str, ref: str, *, person: str = "member") -> dict[str, Any]:
    """Show one."""
    told = cloud.get(f"{path(one)}/{ref}", person=person)
    assert told.status == 200, told
    return told.json()[one]


def listed(cloud: Cloud, one: str, query: str = "", *, person: str = "member") -> list[dict[str, Any]]:
    """List them."""
    told = cloud.get(path(one) + (f"?{query}" if query else ""), person=person)
    assert told.status == 200, told
    (items,) = [value for name, value in told.json().items() if not name.endswith("_links")]
    return items


def drop(cloud: Cloud, one: str, ref: str, *, person: str = "member") -> Told:
    """Ask to delete one."""
    return cloud.delete(f"{path(one)}/{ref}", person=person)


def kind_of(told: Told) -> str:
    """The type of an error."""
    return told.json()["NeutronError"]["type"]


def lan(cloud: Cloud, *, person: str = "member", cidr: str = "10.0.0.0/24", **subnet: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A network and its subnet."""
    network = make(cloud, "network", person=person, name="lan")
    version = 6 if ":" in cidr else 4
    return network, make(cloud, "subnet", person=person, network_id=network["id"], cidr=cidr, ip_version=version, **subnet)


def outside(cloud: Cloud) -> tuple[dict[str, Any], dict[str, Any]]:
    """The external network and its subnet."""
    network = make(cloud, "network", person="admin", name="public", router__external=True)
    subnet = make(
        cloud, "subnet", person="admin", network_id=network["id"], cidr="203.0.113.0/24", ip_version=4, gateway_ip="203.0.113.1", enable_dhcp=False
    )
    return network, subnet


def bound(cloud: Cloud, network: dict[str, Any], host: str = "node1", **values: Any) -> dict[str, Any]:
    """A port of a server, plugged on the host."""
    port = make(cloud, "port", network_id=network["id"], **values)
    server = {"device_id": values.get("device_id", "server"), "device_owner": "compute:nova"}
    told = change(cloud, "port", port["id"], person="admin", binding__host_id=host, **server)
    assert told.status == 200, told
    cloud.wait(lambda: show(cloud, "port", port["id"])["status"] == "ACTIVE")
    return show(cloud, "port", port["id"])


def interface(cloud: Cloud, router: dict[str, Any], *, person: str = "member", verb: str = "add", **what: str) -> Told:
    """Join a router with a subnet or port, or take them apart."""
    return cloud.put(f"/network/v2.0/routers/{router['id']}/{verb}_router_interface", what, person=person)


def idle(cloud: Cloud) -> None:
    """Wait until no workflow is left."""

    def done() -> bool:
        with cloud.program.db.transaction(write=False) as tx:
            return not tx.count(Work)

    cloud.wait(done)
