"""What one sees of a server's inside: console, screen, diagnostics, topology, its posted password; and events told from outside."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilvi import network
from pilvi.compute.api import security_groups
from pilvi.compute.drivers import MachineUse
from pilvi.compute.operations import actions as action_notes
from pilvi.compute.operations import consoles
from pilvi.compute.operations import servers as operations
from pilvi.compute.operations.servers import find, guard, look
from pilvi.compute.policy import admin, member, reader
from pilvi.compute.tables.consoles import ConsoleToken
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Conflict, HostError, Invalid, NotFound
from pilvi.kernel.http import Answer, Body, Resource, wire
from pilvi.kernel.http.versions import Version
from pilvi.kernel.policy import Rule

looks = Resource("/v2.1/servers", tag="server consoles")
diagnostics = Resource("/v2.1/servers/{server_id}/diagnostics", tag="server diagnostics")
passwords = Resource("/v2.1/servers/{server_id}/os-server-password", tag="server password")
topology = Resource("/v2.1/servers/{server_id}/topology", tag="server topology", since="2.78")
groups = Resource("/v2.1/servers/{server_id}/os-security-groups", tag="server security groups")
outside = Resource("/v2.1/os-server-external-events", tag="server external events")
tokens = Resource("/v2.1/os-console-auth-tokens", tag="console tokens")

OUTPUT = member("os-console-output", "Read a server's console output.")
REMOTE = member("os-remote-consoles", "Open a server's console.")
PASSWORD = member("os-admin-password", "Set a password within a server.")
CRASH_DUMP = admin("servers:trigger_crash_dump", "Have a server dump its memory.")
DIAGNOSTICS = admin("os-server-diagnostics", "See what a server uses of its host.")
PASSWORD_SHOW = reader("os-server-password:show", "Read the encrypted password that a server posted.")
PASSWORD_CLEAR = member("os-server-password:clear", "Forget the encrypted password that a server posted.")
TOPOLOGY = msgspec.structs.replace(reader("", "See a server's NUMA topology."), name="compute:server:topology:index")
TOPOLOGY_HOST = msgspec.structs.replace(admin("", "See where in the host a server's NUMA nodes are."), name="compute:server:topology:host:index")
GROUPS = reader("os-security-groups:list", "List a server's security groups.")
EVENTS = Rule("os_compute_api:os-server-external-events:create", "rule:service_or_admin", "Tell of what happened to a server.")
TOKENS = admin("os-console-auth-tokens", "See what a console token opens.")
OTHERS = [TOPOLOGY_HOST]
_V2_48, _V2_51 = Version(2, 48), Version(2, 51)


class ConsoleOutput(Body):
    length: Annotated[int, msgspec.Meta(ge=-1)] | str | None = None


class VncConsole(Body):
    type: Literal["novnc", "xvpvnc"]


class RemoteConsole(Body):
    protocol: Literal["vnc", "spice", "rdp", "serial", "mks"]
    type: Literal["novnc", "xvpvnc", "spice-html5", "rdp-html5", "serial", "webmks", "spice-direct"]


class ChangePassword(Body):
    password: Annotated[str, msgspec.Meta(max_length=255)] = wire("adminPass")


@looks.action("os-getConsoleOutput", of="server_id", rule=OUTPUT, write=None)
def console_output(ctx: Context, server_id: str, body: ConsoleOutput | None) -> dict[str, str]:
    """What the guest wrote on its serial console."""
    length = body.length if body else None
    if isinstance(length, str):
        if not length.lstrip("-").isdigit() or int(length) < -1:
            raise Invalid("Invalid input for field length: it must be a whole number, not below -1.", field="length")
        length = int(length)
    server = look(ctx, server_id)
    guard(ctx, server, "get_console_output", unlocked=False)
    return {"output": consoles.log(ctx.program, server, length)}


@looks.action("os-getVNCConsole", of="server_id", rule=REMOTE, until="2.5")
def vnc_console(ctx: Context, server_id: str, body: VncConsole) -> dict[str, dict[str, str]]:
    """Open a server's screen."""
    return {"console": {"type": body.type, "url": consoles.open_console(ctx, find(ctx, server_id), body.type)}}


@looks.post("/{server_id}/remote-consoles", rule=REMOTE, out="remote_console", since="2.6")
def remote_console(ctx: Context, server_id: str, remote_console: RemoteConsole) -> dict[str, str]:
    """Open a server's console by protocol and type."""
    server = find(ctx, server_id)
    if consoles.KINDS.get(remote_console.type, remote_console.protocol) != remote_console.protocol:
        raise Invalid(f"The console type {remote_console.type} is not of the protocol {remote_console.protocol}.", field="type")
    url = consoles.open_console(ctx, server, remote_console.type)
    return {"protocol": remote_console.protocol, "type": remote_console.type, "url": url}


@tokens.get("/{token}", rule=TOKENS, out="console")
def show_token(ctx: Context, token: str) -> dict[str, Any]:
    """What a console token opens."""
    row = ctx.db.get(ConsoleToken, consoles.digest(token))
    if row is None or row.expires_at < clock.now():
        raise NotFound("Token not found")
    server = ctx.db.get(Server, row.server_id)
    host = server.host if server else ""
    return {"instance_uuid": row.server_id, "host": host, "port": 0, "internal_access_path": None}


@looks.action("changePassword", of="server_id", rule=PASSWORD, answers=202, write=None)
def change_password(ctx: Context, server_id: str, body: ChangePassword) -> None:
    """Set the administrator's password within the guest, by its agent."""
    server = look(ctx, server_id)
    guard(ctx, server, "changePassword")
    user = "Administrator" if server.image.properties.get("os_type") == "windows" else server.image.properties.get("os_admin_user", "root")
    try:
        consoles.host_agent(ctx.program, server).set_password(server.id, user, body.password)
    except HostError as error:
        _told(ctx, server, "changePassword", "compute_set_admin_password", error.message)
        raise Conflict(f"Failed to set admin password on {server.id}: {error.message}") from None
    _told(ctx, server, "changePassword", "compute_set_admin_password")


@looks.action("trigger_crash_dump", of="server_id", rule=CRASH_DUMP, answers=202, since="2.17", write=None)
def crash_dump(ctx: Context, server_id: str, body: Any) -> None:
    """Interrupt the guest so that it dumps its memory."""
    server = look(ctx, server_id)
    guard(ctx, server, "trigger_crash_dump")
    try:
        consoles.host_agent(ctx.program, server).send_nmi(server.id)
    except HostError as error:
        raise Conflict(error.message) from None
    _told(ctx, server, "trigger_crash_dump", "compute_trigger_crash_dump")


def _told(ctx: Context, server: Server, action: str, event: str, why: str = "") -> None:
    """Note an action that was done at once."""

    def note(tx: Any) -> None:
        inner = ctx.program.context(tx, ctx.caller, request_id=ctx.request_id)
        action_notes.begin(inner, server, action)
        action_notes.finish(inner, server, event, action, why=why)

    ctx.program.db.run(note)


@diagnostics.get("", rule=DIAGNOSTICS, write=None)
def show_diagnostics(ctx: Context, server_id: str) -> dict[str, Any]:
    """What a server uses of its host, in the old form until 2.47."""
    server = look(ctx, server_id)
    guard(ctx, server, "get_diagnostics", unlocked=False)
    try:
        use = consoles.host_agent(ctx.program, server).use(server.id)
    except HostError as error:
        raise Conflict(error.message) from None
    return _new_form(ctx, server, use) if ctx.version is not None and ctx.version >= _V2_48 else _old_form(use)


def _old_form(use: MachineUse) -> dict[str, Any]:
    told: dict[str, Any] = {f"cpu{at}_time": spent for at, spent in enumerate(use.cpu_ns)}
    told |= {"memory": use.memory_mib * 1024, "memory-actual": use.memory_mib * 1024, "memory-rss": use.memory_used_mib * 1024}
    for at, disk in enumerate(use.disks):
        name = f"vd{chr(ord('a') + at % 26)}"
        told |= {
            f"{name}_read": disk.read_bytes, f"{name}_read_req": disk.read_requests, f"{name}_write": disk.write_bytes,
            f"{name}_write_req": disk.write_requests, f"{name}_errors": disk.errors,
        }  # fmt: skip
    for nic in use.nics:
        name = f"tap{nic.key[:11]}"
        told |= {
            f"{name}_rx": nic.rx_bytes, f"{name}_rx_drop": nic.rx_drops, f"{name}_rx_errors": nic.rx_errors, f"{name}_rx_packets": nic.rx_packets,
            f"{name}_tx": nic.tx_bytes, f"{name}_tx_drop": nic.tx_drops, f"{name}_tx_errors": nic.tx_errors, f"{name}_tx_packets": nic.tx_packets,
        }  # fmt: skip
    return told


def _new_form(ctx: Context, server: Server, use: MachineUse) -> dict[str, Any]:
    with ctx.program.db.transaction(write=False) as tx:
        macs = {port.id: port.mac for port in network.ports_of(tx, [server.id]).get(server.id, [])} if server.nics else {}
    driver = ctx.program.settings.compute.driver
    return {
        "state": {"running": "running", "paused": "paused", "suspended": "suspended", "crashed": "crashed"}.get(use.power, "shutdown"),
        "driver": driver if driver in ("libvirt", "xenapi", "vmwareapi", "ironic", "hyperv") else "libvirt",
        "hypervisor": server.image.properties.get("img_hv_type") or "qemu",
        "hypervisor_os": "linux", "uptime": use.uptime_s, "config_drive": server.config_drive,
        "num_cpus": len(use.cpu_ns), "num_nics": len(use.nics), "num_disks": len(use.disks),
        "cpu_details": [{"id": at, "time": spent, "utilisation": None} for at, spent in enumerate(use.cpu_ns)],
        "nic_details": [
            {
                "mac_address": macs.get(nic.key, ""), "rx_octets": nic.rx_bytes, "rx_errors": nic.rx_errors, "rx_drop": nic.rx_drops,
                "rx_packets": nic.rx_packets, "rx_rate": None, "tx_octets": nic.tx_bytes, "tx_errors": nic.tx_errors,
                "tx_drop": nic.tx_drops, "tx_packets": nic.tx_packets, "tx_rate": None,
            }
            for nic in use.nics
        ],
        "disk_details": [
            {
                "read_bytes": disk.read_bytes, "read_requests": disk.read_requests, "write_bytes": disk.write_bytes,
                "write_requests": disk.write_requests, "errors_count": disk.errors,
            }
            for disk in use.disks
        ],
        "memory_details": {"maximum": use.memory_mib, "used": use.memory_used_mib},
    }  # fmt: skip


@passwords.get("", rule=PASSWORD_SHOW)
def show_password(ctx: Context, server_id: str) -> dict[str, str]:
    """The password that the guest posted, encrypted with its owner's key."""
    return {"password": find(ctx, server_id).secrets.get("posted_password", "")}


@passwords.delete("", rule=PASSWORD_CLEAR, answers=204)
def clear_password(ctx: Context, server_id: str) -> None:
    """Forget it; the guest's own password stays."""
    server = find(ctx, server_id)
    operations.update(ctx, server, secrets={name: value for name, value in server.secrets.items() if name != "posted_password"})


@topology.get("", rule=TOPOLOGY)
def show_topology(ctx: Context, server_id: str) -> dict[str, Any]:
    """A server's NUMA nodes: one, of all that it has, where the flavor says nothing of them."""
    server = find(ctx, server_id)
    nodes: list[dict[str, Any]] = []
    if server.flavor.extra_specs.get("hw:numa_nodes"):
        nodes = [{"memory_mb": server.memory_mib, "siblings": [], "vcpu_set": list(range(server.vcpus))}]
        if ctx.allowed(TOPOLOGY_HOST.name):
            nodes[0] |= {"host_node": 0, "cpu_pinning": {}}
    return {"nodes": nodes, "pagesize_kb": None}


@groups.get("", rule=GROUPS, out="security_groups")
def list_groups(ctx: Context, server_id: str) -> list[dict[str, Any]]:
    """A server's security groups."""
    return [security_groups.view(one) for one in network.for_compute.groups_of_server(ctx, find(ctx, server_id).id)]


class ExternalEvent(Body):
    server_uuid: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F-]{32,36}$")]
    name: Literal[
        "network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "volume-extended", "power-update",
        "accelerator-request-bound", "volume-reimaged",
    ]  # fmt: skip
    status: Literal["failed", "completed", "in-progress"] = "completed"
    tag: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class ExternalEvents(Body):
    events: Annotated[list[ExternalEvent], msgspec.Meta(min_length=1)]


@outside.post("", rule=EVENTS)
def external_events(ctx: Context, body: ExternalEvents) -> Answer:
    """Take note of events of other services; whoever waits for them looks again."""
    known = {row.id: row for row in ctx.db.by(Server, Server.c.id, [one.server_uuid for one in body.events], Server.c.deleted_at.is_(None))}
    told, codes = [], set()
    for event in body.events:
        server = known.get(event.server_uuid)
        code = 404 if server is None else 422 if not server.host else 200
        if code == 200:
            ctx.program.workflows.wake(ctx.db, event.server_uuid)
        codes.add(code)
        said = {"server_uuid": event.server_uuid, "name": event.name, "status": "completed" if code == 200 else "failed", "code": code}
        told.append(said | ({"tag": event.tag} if event.tag else {}))
    if codes == {404}:
        raise NotFound("No instances found for any event")
    return Answer(200 if codes == {200} else 207, {"events": told})
