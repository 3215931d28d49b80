"""The metadata service: what a guest asks of 169.254.169.254, in EC2's and in OpenStack's form."""

from __future__ import annotations

from typing import Any

import msgspec

from pilvi import network
from pilvi.compute.logic import guest_data
from pilvi.compute.logic.guest_data import EC2_VERSIONS, OPENSTACK_VERSIONS, Guest
from pilvi.compute.operations import guests
from pilvi.compute.tables.servers import Device, Server
from pilvi.kernel.program import Program
from pilvi.network import MetadataAnswer, MetadataRequest

LONGEST_PASSWORD = 255 * 4  # what a guest may post, in characters


class Metadata:
    """Answers guests' requests; who asks is known by the address and the network that it comes from."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def answer(self, request: MetadataRequest) -> MetadataAnswer:
        """The answer to one request."""
        with self.program.db.transaction(write=False) as tx:
            found = network.find_port_by_source(tx, request.client, network_id=request.network_id, router_id=request.router_id)
            server = tx.get(Server, found[0]) if found else None
            if server is None or server.deleted_at is not None:
                return _text(404, "There is no server at this address.")
            parts = [part for part in request.path.partition("?")[0].split("/") if part]
            if request.method == "POST":
                guest = None
            else:
                devices = tx.all(Device, Device.c.server_id == server.id)
                ports = network.ports_of(tx, [server.id]).get(server.id, []) if server.nics else []
                guest = guests.describe(self.program, tx, server, devices, ports)
        if guest is None:
            return self._post(server, parts, request.body)
        if request.method not in ("GET", "HEAD"):
            return _text(405, "Only GET and POST are understood here.")
        if not parts:
            return _text(200, "\n".join((*EC2_VERSIONS, "latest")))
        if parts[0] == "openstack":
            return _openstack(guest, parts[1:])
        return _ec2(guest, parts)

    def _post(self, server: Server, parts: list[str], body: bytes) -> MetadataAnswer:
        """The guest posts its password, encrypted, once."""
        if len(parts) != 3 or parts[0] != "openstack" or parts[2] != "password":
            return _text(405, "Only a password can be posted.")
        if server.secrets.get("posted_password"):
            return _text(409, "The password is posted already.")
        if not body or len(body) > LONGEST_PASSWORD:
            return _text(400, f"A password of 1 to {LONGEST_PASSWORD} bytes is expected.")
        text = body.decode("ascii", "replace")

        def keep(tx: Any) -> None:
            row = tx.get(Server, server.id)
            if row is not None and not row.secrets.get("posted_password"):
                tx.change(row, secrets={**row.secrets, "posted_password": text})

        self.program.db.run(keep)
        return _text(200, "")


def _openstack(guest: Guest, parts: list[str]) -> MetadataAnswer:
    if not parts:
        return _text(200, "\n".join((*OPENSTACK_VERSIONS, "latest")))
    if parts[0] == "content":
        return _content(guest, parts[1:])
    version = parts[0]
    if version not in OPENSTACK_VERSIONS and version != "latest":
        return _missing()
    files = _files(guest, version)
    if len(parts) == 1:
        return _text(200, "\n".join(files))
    if len(parts) == 2 and parts[1] in files:
        return files[parts[1]]()
    return _missing()


def _files(guest: Guest, version: str) -> dict[str, Any]:
    """The files of a version, and how each is answered."""
    found: dict[str, Any] = {"meta_data.json": lambda: _json(guest_data.meta_data(guest, version))}
    raw = guest_data.user_data(guest)
    if raw is not None:
        found["user_data"] = lambda: _bytes(raw)
    newer = version == "latest" or version >= "2013-04-04"
    if newer:
        found["password"] = lambda: _text(200, guest.server.secrets.get("posted_password", ""))
    if version == "latest" or version >= "2013-10-17":
        found["vendor_data.json"] = lambda: _json(guest_data.vendor_data(guest))
    if version == "latest" or version >= "2015-10-15":
        found["network_data.json"] = lambda: _json(guest_data.network_data(guest))
    if version == "latest" or version >= "2016-10-06":
        found["vendor_data2.json"] = lambda: _json({"static": guest_data.vendor_data(guest)} if guest.vendor_data else {})
    return found


def _content(guest: Guest, parts: list[str]) -> MetadataAnswer:
    contents = list(guest.server.wishes.files.values())
    if len(parts) == 1 and parts[0].isdigit() and int(parts[0]) < len(contents):
        return _bytes(contents[int(parts[0])])
    return _missing()


def _ec2(guest: Guest, parts: list[str]) -> MetadataAnswer:
    if parts[0] not in EC2_VERSIONS and parts[0] != "latest":
        return _missing()
    raw = guest_data.user_data(guest)
    if len(parts) == 1:
        return _text(200, "meta-data/" + ("\nuser-data" if raw is not None else ""))
    if parts[1] == "user-data" and len(parts) == 2:
        return _missing() if raw is None else _bytes(raw)
    if parts[1] != "meta-data":
        return _missing()
    found: Any = guest_data.ec2_tree(guest)
    for part in parts[2:]:
        name = part.partition("=")[0]
        if not isinstance(found, dict) or name not in found or name == "_name":
            return _missing()
        found = found[name]
    if isinstance(found, dict):
        return _text(200, guest_data.ec2_listing(found))
    return _text(200, str(found))


def _text(status: int, text: str) -> MetadataAnswer:
    return MetadataAnswer(status=status, headers={"Content-Type": "text/plain; charset=UTF-8"}, body=text.encode())


def _bytes(content: bytes) -> MetadataAnswer:
    return MetadataAnswer(status=200, headers={"Content-Type": "application/octet-stream"}, body=content)


def _json(value: Any) -> MetadataAnswer:
    return MetadataAnswer(status=200, headers={"Content-Type": "application/json"}, body=msgspec.json.encode(value))


def _missing() -> MetadataAnswer:
    return _text(404, "There is nothing of this name.")
