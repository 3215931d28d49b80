"""Migrations over HTTP: servers' moves and resizes, for administrators."""

from __future__ import annotations

from pilvi.compute import policy
from pilvi.compute.api.paging import PageQuery
from pilvi.compute.dialect import links
from pilvi.compute.tables.flavors import Flavor
from pilvi.compute.tables.migrations import Migration
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Window, page
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Given, Listing, Resource, Version, View, since, wire

migrations = Resource("/v2.1/os-migrations", tag="migrations")
INDEX = policy.admin("os-migrations:index", "List migrations.")


class MigrationView(View):
    """A move of a server."""

    id: int
    instance_uuid: str
    status: str
    source_compute: str
    source_node: str
    dest_compute: str
    dest_node: str
    dest_host: str
    old_instance_type_id: int
    new_instance_type_id: int
    created_at: str
    updated_at: str
    migration_type: str = since("2.23")
    links: list[dict[str, str]] | Given = since("2.23", default=UNSET)
    uuid: str = since("2.59")
    user_id: str = since("2.80")
    project_id: str = since("2.80")


class MigrationsQuery(PageQuery, extra="2.58"):
    """Only the moves that fit."""

    hidden: str | None = None  # no move is
    host: str | None = None
    instance_uuid: str | None = None
    migration_type: str | None = None
    source_compute: str | None = None
    status: str | None = None
    changes_since: str | None = wire("changes-since", default=None, since="2.59")
    changes_before: str | None = wire("changes-before", default=None, since="2.66")
    user_id: str | None = wire(default=None, since="2.80")
    project_id: str | None = wire(default=None, since="2.80")


def view(ctx: Context, one: Migration, flavors: dict[str, int]) -> MigrationView:
    """A move as administrators see it; `flavors`: the numbers of flavors by name, those that are gone are 0."""
    going = one.kind == "live-migration" and one.status in ("queued", "preparing", "running", "post-migrating")
    return MigrationView(
        id=one.id, instance_uuid=one.server_id, status=one.status, source_compute=one.source_host, source_node=one.source_node,
        dest_compute=one.dest_host, dest_node=one.dest_node, dest_host=one.dest_address,
        old_instance_type_id=flavors.get(one.old_flavor, 0), new_instance_type_id=flavors.get(one.new_flavor, 0),
        created_at=clock.iso_micro(one.created_at), updated_at=clock.iso_micro(one.updated_at), migration_type=one.kind, uuid=one.uuid,
        user_id=one.user_id, project_id=one.project_id,
        links=links(ctx.base_url, f"servers/{one.server_id}/migrations", str(one.id)) if going else UNSET,
    )  # fmt: skip


@migrations.get("", rule=INDEX, out="migrations")
def index(ctx: Context, query: MigrationsQuery) -> Listing:
    """List servers' moves and resizes."""
    assert ctx.version is not None
    where = []
    if query.host:
        where.append((Migration.c.source_host == query.host) | (Migration.c.dest_host == query.host))
    for column, wanted in (
        (Migration.c.server_id, query.instance_uuid), (Migration.c.kind, query.migration_type), (Migration.c.source_host, query.source_compute),
        (Migration.c.status, query.status), (Migration.c.user_id, query.user_id), (Migration.c.project_id, query.project_id),
    ):  # fmt: skip
        if wanted:
            where.append(column == wanted)
    since_, before = query.changes_since, query.changes_before
    if since_ and before and clock.parse(since_, "changes-since") > clock.parse(before, "changes-before"):
        raise Invalid("The value of changes-since must be less than or equal to changes-before.", field="changes-since")
    if since_:
        where.append(Migration.c.updated_at >= clock.parse(since_, "changes-since"))
    if before:
        where.append(Migration.c.updated_at <= clock.parse(before, "changes-before"))
    paged = ctx.version >= Version(2, 59)
    most = ctx.program.settings.compute.max_page
    limit = (most if query.limit is None else min(query.limit, most)) if paged else None
    window = Window(sort=(("created_at", True),), limit=limit, marker=query.marker if paged else None)
    found = page(ctx.db, Migration, *where, window=window, key="uuid")
    names = {name for one in found for name in (one.old_flavor, one.new_flavor)}
    flavors = {flavor.name: flavor.id for flavor in ctx.db.by(Flavor, Flavor.c.name, names)}
    return Listing([view(ctx, one, flavors) for one in found], more=found.more, marker=found[-1].uuid if found else None)
