"""/servers: create, list, show, update, delete."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pilvi.compute.api import server_views
from pilvi.compute.api.create_shapes import CreateRequest, Description, DiskConfig, Hints, Hostname, IPv4, IPv6, ServerName
from pilvi.compute.api.server_shapes import CreatedView, ServersQuery
from pilvi.compute.dialect import home, links
from pilvi.compute.logic import names
from pilvi.compute.operations import create as creation
from pilvi.compute.operations import listing
from pilvi.compute.operations import servers as operations
from pilvi.compute.operations.create_checks import flag
from pilvi.compute.policy import admin, member, reader
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Answer, Body, Given, Listing, Resource, since, wire
from pilvi.kernel.http.versions import Version

servers = Resource("/v2.1/servers", tag="servers")

CREATE = member("servers:create", "Create a server.")
CREATE_NETWORK = member("servers:create:attach_network", "Create a server with the networks that one names.")
CREATE_VOLUME = member("servers:create:attach_volume", "Create a server with the volumes that one names.")
INDEX = reader("servers:index", "List servers.")
DETAIL = reader("servers:detail", "List servers in full.")
SHOW = reader("servers:show", "Show a server.")
UPDATE = member("servers:update", "Change a server's name, description or addresses.")
DELETE = member("servers:delete", "Delete a server.")
OTHERS = [
    CREATE_NETWORK, CREATE_VOLUME,
    admin("servers:index:get_all_tenants", "List the servers of all projects."),
    admin("servers:detail:get_all_tenants", "List the servers of all projects in full."),
    admin("servers:allow_all_filters", "List servers by any filter."),
    admin("servers:create:forced_host", "Create a server on a host named with the availability zone."),
    admin("servers:show:host_status", "See how a server's host is."),
    admin("servers:show:host_status:unknown-only", "See that a server's host is not known to be up."),
    admin("os-extended-server-attributes", "See a server's host, node, and name there."),
    msgspec.structs.replace(
        admin("", "Create a server on a host or node that one names."), name="compute:servers:create:requested_destination"
    ),
]  # fmt: skip

_NAME_RULES = Version(2, 94)


class UpdateServer(Body):
    """What of a server may be changed by its name."""

    name: ServerName | Given = UNSET
    access_v4: IPv4 | Given = wire("accessIPv4", default=UNSET)
    access_v6: IPv6 | Given = wire("accessIPv6", default=UNSET)
    disk_config: DiskConfig | Given = wire("OS-DCF:diskConfig", default=UNSET)
    description: Description | Given | None = since("2.19")
    hostname: Hostname | Given = since("2.90")
    zone: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | Given | None = since("2.104", name="pinned_availability_zone")


@servers.post("", rule=CREATE, answers=202)
def create(ctx: Context, body: CreateRequest) -> Answer:
    """Create a server.  It is BUILD until its workflow has made it ACTIVE."""
    wanted = body.server
    hints = body.hints if body.old_hints is UNSET else body.old_hints
    if wanted.certificates:
        raise Invalid("Image signature certificate validation is not offered by this cloud.", field="trusted_image_certificates")
    if isinstance(wanted.networks, list) and wanted.networks:
        ctx.allow(CREATE_NETWORK.name)
    if wanted.bdm or wanted.bdm_v2:
        ctx.allow(CREATE_VOLUME.name)
    _check_hostname(ctx, wanted.hostname)
    made = creation.create(ctx, wanted, hints if isinstance(hints, Hints) else msgspec.convert(msgspec.to_builtins(hints), Hints))
    if flag(wanted.return_reservation_id, "return_reservation_id"):
        return Answer(202, {"reservation_id": made.reservation_id})
    first = made.servers[0]
    view = CreatedView(
        id=first.id, links=links(ctx.base_url, "servers", first.id), disk_config=first.disk_config,
        security_groups=[{"name": name} for name in made.groups], password=made.password,
    )  # fmt: skip
    return Answer(202, {"server": view}, {"Location": f"{home(ctx.base_url)}/v2.1/servers/{first.id}"})


@servers.get("", rule=INDEX, out="servers")
def index(ctx: Context, query: ServersQuery) -> Listing:
    """List servers: ids, names and links."""
    found = listing.servers(ctx, query)
    return Listing(server_views.brief(ctx, found), more=found.more, marker=found[-1].id if found else None)


@servers.get("/detail", rule=DETAIL, out="servers")
def detail(ctx: Context, query: ServersQuery) -> Listing:
    """List servers in full."""
    found = listing.servers(ctx, query)
    return Listing(server_views.full(ctx, found, listed=True), more=found.more, marker=found[-1].id if found else None)


@servers.get("/{server_id}", rule=SHOW, out="server")
def show(ctx: Context, server_id: str) -> Any:
    """Show a server."""
    return server_views.full(ctx, [operations.find(ctx, server_id)])[0]


@servers.put("/{server_id}", rule=UPDATE)
def update(ctx: Context, server_id: str, server: UpdateServer) -> dict[str, Any]:
    """Change a server's name, description, addresses or host name."""
    found = operations.find(ctx, server_id)
    _check_hostname(ctx, server.hostname)
    given = {name: getattr(server, name) for name in UpdateServer.__struct_fields__ if getattr(server, name) is not UNSET}
    if given.get("access_v6"):
        given["access_v6"] = names.ipv6(given["access_v6"], "server.accessIPv6")
    if "zone" in given:
        given["wishes"] = operations.pinned(found, given.pop("zone"))
    operations.update(ctx, found, **given)
    return {"server": server_views.basic(ctx, found)}


@servers.delete("/{server_id}", rule=DELETE, answers=204)
def delete(ctx: Context, server_id: str) -> None:
    """Delete a server, whatever its state."""
    operations.delete(ctx, operations.find(ctx, server_id))


def _check_hostname(ctx: Context, hostname: Any) -> None:
    """Until 2.93 a host name is one label; since 2.94 it may have dots."""
    if hostname is not UNSET and "." in hostname and ctx.version is not None and ctx.version < _NAME_RULES:
        raise Invalid(f"Invalid input for field hostname: '{hostname}' does not match the form {names.HOSTNAME}.", field="hostname")
