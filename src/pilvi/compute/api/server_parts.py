"""/servers/{id}/metadata, /tags, /ips: what belongs to a server and is small."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from pilvi import network
from pilvi.compute.api.create_shapes import Metadata, MetadataValue, Tag
from pilvi.compute.api.server_views import by_network
from pilvi.compute.dialect import home
from pilvi.compute.operations import servers as operations
from pilvi.compute.operations.servers import find
from pilvi.compute.policy import member, reader
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Answer, Body, Resource

metadata = Resource("/v2.1/servers/{server_id}/metadata", tag="server metadata")
tags = Resource("/v2.1/servers/{server_id}/tags", tag="server tags", since="2.26")
ips = Resource("/v2.1/servers/{server_id}/ips", tag="server addresses")

SHOW_ITEM = reader("server-metadata:show", "Show one item of a server's metadata.")
INDEX = reader("server-metadata:index", "List a server's metadata.")
CREATE = member("server-metadata:create", "Add to a server's metadata.")
UPDATE_ALL = member("server-metadata:update_all", "Replace a server's metadata.")
UPDATE = member("server-metadata:update", "Change one item of a server's metadata.")
DELETE = member("server-metadata:delete", "Delete one item of a server's metadata.")
TAGS_INDEX = reader("os-server-tags:index", "List a server's tags.")
TAGS_SHOW = reader("os-server-tags:show", "See whether a server has a tag.")
TAGS_UPDATE = member("os-server-tags:update", "Tag a server.")
TAGS_UPDATE_ALL = member("os-server-tags:update_all", "Replace a server's tags.")
TAGS_DELETE = member("os-server-tags:delete", "Untag a server.")
TAGS_DELETE_ALL = member("os-server-tags:delete_all", "Take all tags from a server.")
IPS_INDEX = reader("ips:index", "List a server's addresses.")
IPS_SHOW = reader("ips:show", "List a server's addresses on one network.")
MOST_TAGS = 50


class NewMetadata(Body):
    metadata: Metadata


class Item(Body):
    meta: dict[str, MetadataValue]


class NewTags(Body):
    tags: Annotated[list[Tag], msgspec.Meta(max_length=MOST_TAGS)]


@metadata.get("", rule=INDEX, out="metadata")
def index(ctx: Context, server_id: str) -> dict[str, str]:
    """List a server's metadata."""
    return find(ctx, server_id).metadata


@metadata.post("", rule=CREATE, out="metadata")
def create(ctx: Context, server_id: str, body: NewMetadata) -> dict[str, str]:
    """Add items to a server's metadata."""
    server = find(ctx, server_id)
    return operations.set_metadata(ctx, server, {**server.metadata, **body.metadata})


@metadata.put("", rule=UPDATE_ALL, out="metadata")
def update_all(ctx: Context, server_id: str, body: NewMetadata) -> dict[str, str]:
    """Replace a server's metadata."""
    return operations.set_metadata(ctx, find(ctx, server_id), body.metadata)


@metadata.get("/{key}", rule=SHOW_ITEM, out="meta")
def show_item(ctx: Context, server_id: str, key: str) -> dict[str, str]:
    """Show one item."""
    return {key: _item(find(ctx, server_id).metadata, key)}


@metadata.put("/{key}", rule=UPDATE, out="meta")
def update_item(ctx: Context, server_id: str, key: str, body: Item) -> dict[str, str]:
    """Set one item."""
    if list(body.meta) != [key]:
        raise Invalid("Request body and URI mismatch", field="meta")
    server = find(ctx, server_id)
    try:
        msgspec.convert(body.meta, Metadata)
    except msgspec.ValidationError:
        raise Invalid(f"Invalid input for field meta: '{key}' is not a usable name.", field="meta") from None
    operations.set_metadata(ctx, server, {**server.metadata, **body.meta})
    return body.meta


@metadata.delete("/{key}", rule=DELETE, answers=204)
def delete_item(ctx: Context, server_id: str, key: str) -> None:
    """Delete one item."""
    server = find(ctx, server_id)
    _item(server.metadata, key)
    operations.set_metadata(ctx, server, {name: value for name, value in server.metadata.items() if name != key})


def _item(items: dict[str, str], key: str) -> str:
    if key not in items:
        raise NotFound("Metadata item was not found")
    return items[key]


@tags.get("", rule=TAGS_INDEX, out="tags")
def tags_index(ctx: Context, server_id: str) -> list[str]:
    """List a server's tags."""
    return find(ctx, server_id).tags


@tags.put("", rule=TAGS_UPDATE_ALL, out="tags")
def tags_update_all(ctx: Context, server_id: str, body: NewTags) -> list[str]:
    """Replace a server's tags."""
    return operations.set_tags(ctx, find(ctx, server_id), body.tags)


@tags.delete("", rule=TAGS_DELETE_ALL, answers=204)
def tags_delete_all(ctx: Context, server_id: str) -> None:
    """Take all tags from a server."""
    operations.set_tags(ctx, find(ctx, server_id), [])


@tags.get("/{tag}", rule=TAGS_SHOW, answers=204)
def tags_show(ctx: Context, server_id: str, tag: str) -> None:
    """204 when the server has the tag."""
    _has(ctx, server_id, tag)


@tags.put("/{tag}", rule=TAGS_UPDATE, answers=201)
def tags_update(ctx: Context, server_id: str, tag: str) -> Answer:
    """Tag a server."""
    server = find(ctx, server_id)
    try:
        msgspec.convert(tag, Tag)
    except msgspec.ValidationError:
        raise Invalid(f"Invalid input for field tag: '{tag[:80]}' has more than 60 characters, or one of , and /.", field="tag") from None
    where = {"Location": f"{home(ctx.base_url)}/v2.1/servers/{server_id}/tags/{quote(tag)}"}
    if tag in server.tags:
        return Answer(204, None, where)
    if len(server.tags) >= MOST_TAGS:
        raise Invalid(f"The number of tags exceeded the per-server limit {MOST_TAGS}")
    operations.set_tags(ctx, server, [*server.tags, tag])
    return Answer(201, None, where)


@tags.delete("/{tag}", rule=TAGS_DELETE, answers=204)
def tags_delete(ctx: Context, server_id: str, tag: str) -> None:
    """Untag a server."""
    server = _has(ctx, server_id, tag)
    operations.set_tags(ctx, server, [one for one in server.tags if one != tag])


def _has(ctx: Context, server_id: str, tag: str) -> Any:
    server = find(ctx, server_id)
    if tag not in server.tags:
        raise NotFound(f"Server {server_id} has no tag '{tag}'")
    return server


@ips.get("", rule=IPS_INDEX, out="addresses")
def ips_index(ctx: Context, server_id: str) -> dict[str, list[dict[str, Any]]]:
    """List a server's addresses by network."""
    server = find(ctx, server_id)
    found = by_network(network.addresses_of(ctx.db, [server.id]).get(server.id, []))
    return {name: [{"version": one["version"], "addr": one["addr"]} for one in listed] for name, listed in found.items()}


@ips.get("/{name}", rule=IPS_SHOW)
def ips_show(ctx: Context, server_id: str, name: str) -> dict[str, list[dict[str, Any]]]:
    """List a server's addresses on one network."""
    found = ips_index(ctx, server_id)
    if name not in found:
        raise NotFound("Instance is not a member of specified network")
    return {name: found[name]}
