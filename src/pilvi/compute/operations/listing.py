"""Lists of servers: filters, order and pages, as the API's query words them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from pilvi import network
from pilvi.compute.api.server_shapes import ServersQuery
from pilvi.compute.logic import states
from pilvi.compute.operations.create_checks import flag
from pilvi.compute.tables.servers import Server
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Page, Window, page
from pilvi.kernel.errors import Forbidden, Invalid
from pilvi.kernel.http.versions import Version

ALL_TENANTS = "os_compute_api:servers:index:get_all_tenants"
ADMIN_FILTERS = "os_compute_api:servers:allow_all_filters"

# the API's sort keys -> columns
SORT = {
    "access_ip_v4": "access_v4", "access_ip_v6": "access_v6", "auto_disk_config": "disk_config", "availability_zone": "zone",
    "config_drive": "config_drive", "created_at": "created_at", "display_description": "description", "display_name": "name",
    "host": "host", "hostname": "hostname", "image_ref": "image_id", "instance_type_id": "flavor_id", "key_name": "key_name",
    "launch_index": "launch_index", "launched_at": "launched_at", "locked_by": "locked_by", "node": "node", "power_state": "power_state",
    "progress": "progress", "project_id": "project_id", "root_device_name": "root_device", "task_state": "task_state",
    "terminated_at": "terminated_at", "updated_at": "updated_at", "user_id": "user_id", "uuid": "id", "vm_state": "vm_state",
    "name": "name", "id": "id", "status": "vm_state", "created": "created_at", "updated": "updated_at", "flavor": "flavor_id",
    "image": "image_id", "tenant_id": "project_id", "locked": "locked_by",
}  # fmt: skip
ADMIN_SORT = ("host", "node")

# filters that are plain comparisons: the query's name -> column
_EQUAL = {
    "reservation_id": "reservation_id", "availability_zone": "zone", "key_name": "key_name", "launch_index": "launch_index",
    "root_device_name": "root_device", "access_ip_v4": "access_v4", "access_ip_v6": "access_v6", "user_id": "user_id",
    "vm_state": "vm_state", "task_state": "task_state", "power_state": "power_state", "progress": "progress", "host": "host", "node": "node",
    "uuid": "id", "image": "image_id", "flavor": "flavor_id",
}  # fmt: skip
_FOR_ALL = {
    "reservation_id", "name", "status", "image", "flavor", "ip", "changes_since", "changes_before", "ip6", "tags", "tags_any", "not_tags",
    "not_tags_any", "locked", "all_tenants", "limit", "marker", "sort_key", "sort_dir", "deleted",
}  # fmt: skip
_FOR_ALL_SINCE_283 = {
    "availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at", "power_state", "task_state", "vm_state",
    "progress", "user_id",
}  # fmt: skip
_V2_83 = Version(2, 83)
_NUMBERS = {"launch_index", "power_state", "progress"}
_CHUNK = 500

Sieve = Callable[[Server], bool]


def servers(ctx: Context, query: ServersQuery) -> Page[Server]:
    """The servers that the query asks for."""
    query = _allowed(ctx, query)
    where, sieves, empty = _conditions(ctx, query)
    window = _window(ctx, query)
    if window.marker is not None and ctx.db.get(Server, window.marker) is None:
        raise Invalid(f"marker [{window.marker}] not found", field="marker")
    if empty:
        return Page()
    if not sieves:
        return page(ctx.db, Server, *where, window=window)
    return _sieved(ctx, where, sieves, window)


def _allowed(ctx: Context, query: ServersQuery) -> ServersQuery:
    """The query without the filters that are not for this caller: those are ignored, as nova does."""
    if ctx.allowed(ADMIN_FILTERS):
        return query
    given = {name for name in query.__struct_fields__ if getattr(query, name) not in (None, [])}
    usable = _FOR_ALL | (_FOR_ALL_SINCE_283 if ctx.version and ctx.version >= _V2_83 else set())
    dropped: dict[str, Any] = dict.fromkeys(given - usable)
    return msgspec.structs.replace(query, **dropped) if dropped else query


def _conditions(ctx: Context, query: ServersQuery) -> tuple[list[Any], list[Sieve], bool]:
    """What the database sifts, what is sifted afterwards, and whether nothing can fit."""
    c = Server.c
    where: list[Any] = []
    sieves: list[Sieve] = []
    if query.all_tenants is not None and flag(query.all_tenants or "1", "all_tenants"):
        ctx.allow(ALL_TENANTS)
        project = query.project_id or query.tenant_id
        if project:
            where.append(c.project_id == project)
    else:
        where.append(c.project_id == ctx.project_id)
    gone = query.deleted is not None and flag(query.deleted, "deleted") and ctx.is_admin
    since = clock.parse(query.changes_since, "changes-since") if query.changes_since else None
    before = clock.parse(query.changes_before, "changes-before") if query.changes_before else None
    if since is not None and before is not None and since > before:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.", field="changes-since")
    if gone:
        where.append(c.deleted_at.is_not(None))
    elif since is None and before is None and not (query.status and ctx.is_admin and "DELETED" in [one.upper() for one in query.status]):
        where.append(c.deleted_at.is_(None))
    if since is not None:
        where.append(c.updated_at >= since)
    if before is not None:
        where.append(c.updated_at < before + 1)
    if query.status and not _status(ctx, query.status, where, sieves):
        return where, sieves, True
    if not query.status and not gone and since is None and not ctx.is_admin:
        where.append(c.vm_state != "soft-delete")
    for name, column in _EQUAL.items():
        value = getattr(query, name)
        if value is not None:
            if name in _NUMBERS:
                if not value.lstrip("-").isdigit():
                    raise Invalid(f"Invalid input for field {name}: '{value}' is not a number.", field=name)
                where.append(c[column] == int(value))
            else:
                where.append(c[column] == (value.rstrip("/").rsplit("/", 1)[-1] if name in ("image", "flavor") else value))
    if query.config_drive is not None:
        where.append(c.config_drive == flag(query.config_drive, "config_drive"))
    if query.locked is not None:
        where.append(c.locked_by.is_not(None) if flag(query.locked, "locked") else c.locked_by.is_(None))
    _sieves(ctx, query, sieves)
    return where, sieves, False


def _status(ctx: Context, words: list[str], where: list[Any], sieves: list[Sieve]) -> bool:
    """Sift by status; False when no server can have one of these."""
    wanted = {word.upper() for word in words}
    if "DELETED" in wanted and not ctx.is_admin and len(wanted) == 1:

        raise Forbidden("Only administrators may list deleted instances")
    vm_states: set[str] = set()
    for word in wanted:
        vm_states |= states.states_of(word)[0]
    if not vm_states:
        return False
    where.append(Server.c.vm_state.in_(vm_states))
    sieves.append(lambda server: states.status(server.vm_state, server.task_state) in wanted)
    return True


def _sieves(ctx: Context, query: ServersQuery, sieves: list[Sieve]) -> None:
    """Filters that databases do not do alike: regular expressions, tags, metadata, addresses."""
    for name in ("name", "description", "hostname"):
        value = getattr(query, name)
        if value:
            pattern = _pattern(value, name)
            sieves.append(lambda server, p=pattern, n=name: p.search(getattr(server, n) or "") is not None)
    for name, fits in (
        ("tags", lambda have, said: said <= have), ("tags_any", lambda have, said: bool(said & have)),
        ("not_tags", lambda have, said: not said <= have), ("not_tags_any", lambda have, said: not said & have),
    ):  # fmt: skip
        value = getattr(query, name)
        if value is not None:
            sieves.append(lambda server, f=fits, said=set(value.split(",")): f(set(server.tags), said))
    if query.metadata:
        try:
            items = msgspec.json.decode(query.metadata, type=dict[str, str])
        except (msgspec.DecodeError, msgspec.ValidationError):
            raise Invalid("Invalid input for field metadata: it must be a JSON object of texts.", field="metadata") from None
        sieves.append(lambda server: items.items() <= server.metadata.items())
    for name, version in (("ip", 4), ("ip6", 6)):
        value = getattr(query, name)
        if value:
            pattern = _pattern(value, name)
            sieves.append(lambda server, p=pattern, v=version: any(one.version == v and p.search(one.address) for one in _addresses(ctx, server)))


def _addresses(ctx: Context, server: Server) -> list[Any]:
    return network.addresses_of(ctx.db, [server.id]).get(server.id, []) if server.nics else []


def _pattern(text: str, field: str) -> re.Pattern[str]:
    if len(text) > 255:
        raise Invalid(f"Invalid input for field {field}: it is too long.", field=field)
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise Invalid(f"Invalid input for field {field}: it is not a regular expression.", field=field) from None


def _window(ctx: Context, query: ServersQuery) -> Window:
    """Order and page; the newest first when nothing is said."""
    most = ctx.program.settings.compute.max_page
    limit = most
    if query.limit is not None and query.limit != "":
        if not query.limit.isdigit():
            raise Invalid("Invalid input for field limit: it must be a whole number, not below 0.", field="limit")
        limit = min(int(query.limit), most)
    keys, down = [], []
    for place, key in enumerate(query.sort_key):
        column = SORT.get(key)
        if column is None:
            raise Invalid(f"Invalid input for field sort_key: '{key}' cannot be sorted by.", field="sort_key")
        direction = query.sort_dir[place] if place < len(query.sort_dir) else (query.sort_dir[-1] if query.sort_dir else "desc")
        if direction not in ("asc", "desc"):
            raise Invalid("Invalid input for field sort_dir: it is asc or desc.", field="sort_dir")
        if key in ADMIN_SORT and not ctx.is_admin:

            raise Forbidden("Only administrators can sort servers by host or node")
        if column not in keys:
            keys.append(column)
            down.append(direction == "desc")
    if not keys:
        keys, down = ["created_at"], [not query.sort_dir or query.sort_dir[0] == "desc"]
    return Window(sort=tuple(zip(keys, down, strict=True)), limit=limit, marker=query.marker or None)


def _sieved(ctx: Context, where: list[Any], sieves: list[Sieve], window: Window) -> Page[Server]:
    """A page of what is left in the sieves, read in chunks until it is full."""
    found: Page[Server] = Page()
    marker, limit = window.marker, window.limit or 0
    while True:
        chunk = page(ctx.db, Server, *where, window=msgspec.structs.replace(window, marker=marker, limit=_CHUNK))
        for server in chunk:
            if all(sieve(server) for sieve in sieves):
                if len(found) == limit:
                    found.more = True
                    return found
                found.append(server)
        if not chunk.more:
            return found
        marker = chunk[-1].id
