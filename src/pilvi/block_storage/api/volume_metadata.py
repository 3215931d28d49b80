"""/volumes/{id}/metadata and /snapshots/{id}/metadata, and the image metadata that a volume keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from pilvi.block_storage import policy
from pilvi.block_storage.api.listing import Metadata
from pilvi.block_storage.api.volumes import get
from pilvi.block_storage.operations.volumes import write_metadata
from pilvi.block_storage.tables.volumes import Snapshot, Volume
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound, PreconditionFailed
from pilvi.kernel.http import Answer, Body, Request, Resource, Version
from pilvi.kernel.policy import Rule

actions = Resource("/v3/volumes", tag="volumes")
IMAGE_SET = policy.member("volume_extension:volume_image_metadata:set", "Set image metadata of a volume.")
IMAGE_REMOVE = policy.member("volume_extension:volume_image_metadata:remove", "Remove image metadata of a volume.")


def _etag(metadata: dict[str, str]) -> str:
    return hashlib.sha256(msgspec.json.encode(dict(sorted(metadata.items())))).hexdigest()


def _check_match(ctx: Context, request: Request, metadata: dict[str, str]) -> None:
    """Since 3.15: a change that names what it has seen is refused when that is not so any more."""
    wanted = request.headers.get("if-match")
    if wanted and ctx.version is not None and ctx.version >= Version(3, 15) and wanted.strip('"') not in ("*", _etag(metadata)):
        raise PreconditionFailed("The metadata were changed meanwhile: If-Match does not hold.")


def metadata_of(
    collection: str, show: Rule, create: Rule, update: Rule, delete: Rule, load: Callable[[Context, str], Any], write: Callable[..., None]
) -> Resource:
    """The routes of one kind of thing's metadata."""
    resource = Resource(f"/v3/{collection}/{{ref}}/metadata", tag=collection)

    @resource.get("", rule=show)
    def index(ctx: Context, ref: str) -> Answer:
        metadata = load(ctx, ref).metadata
        headers = {"ETag": _etag(metadata)} if ctx.version is not None and ctx.version >= Version(3, 15) else {}
        return Answer(200, {"metadata": metadata}, headers)

    @resource.post("", rule=create, out="metadata")
    def add(ctx: Context, ref: str, metadata: Metadata, request: Request) -> dict[str, str]:
        row = load(ctx, ref)
        _check_match(ctx, request, row.metadata)
        write(ctx, row, row.metadata | metadata)
        return row.metadata

    @resource.put("", rule=update, out="metadata")
    def replace(ctx: Context, ref: str, metadata: Metadata, request: Request) -> dict[str, str]:
        row = load(ctx, ref)
        _check_match(ctx, request, row.metadata)
        write(ctx, row, metadata)
        return row.metadata

    @resource.get("/{key}", rule=show, out="meta")
    def show_one(ctx: Context, ref: str, key: str) -> dict[str, str]:
        row = load(ctx, ref)
        return {key: _value(row.metadata, key, row.id)}

    @resource.put("/{key}", rule=update, out="meta")
    def set_one(ctx: Context, ref: str, key: str, meta: Metadata) -> dict[str, str]:
        if list(meta) != [key]:
            raise Invalid("Request body and URI mismatch: the body holds the key of the path alone.", field="meta")
        row = load(ctx, ref)
        write(ctx, row, row.metadata | meta)
        return {key: row.metadata[key]}

    @resource.delete("/{key}", rule=delete)
    def remove_one(ctx: Context, ref: str, key: str) -> None:
        row = load(ctx, ref)
        _value(row.metadata, key, row.id)
        write(ctx, row, {name: value for name, value in row.metadata.items() if name != key})

    return resource


def _value(metadata: dict[str, str], key: str, ref: str) -> str:
    if key not in metadata:
        raise NotFound(f"{ref} has no metadata with key {key}.")
    return metadata[key]


def _snapshot(ctx: Context, ref: str) -> Snapshot:
    return ctx.see(ctx.db.get(Snapshot, ref), "Snapshot", ref)


def _write_snapshot(ctx: Context, snapshot: Snapshot, metadata: dict[str, str]) -> None:
    ctx.db.change(snapshot, metadata=metadata, updated_at=clock.now())


volume_metadata = metadata_of(
    "volumes", policy.reader("volume:get_volume_metadata", "See a volume's metadata."),
    policy.member("volume:create_volume_metadata", "Add metadata to a volume."),
    policy.member("volume:update_volume_metadata", "Change a volume's metadata."),
    policy.member("volume:delete_volume_metadata", "Remove metadata of a volume."), get, write_metadata,
)  # fmt: skip

_SNAPSHOT_UPDATE = policy.member("volume:update_snapshot_metadata", "Change a snapshot's metadata.")
snapshot_metadata = metadata_of(
    "snapshots", policy.reader("volume:get_snapshot_metadata", "See a snapshot's metadata."), _SNAPSHOT_UPDATE, _SNAPSHOT_UPDATE,
    policy.member("volume:delete_snapshot_metadata", "Remove metadata of a snapshot."), _snapshot, _write_snapshot,
)  # fmt: skip


# -- what a volume keeps of its image ------------------------------------------------------------------


class ImageMetadata(Body):
    metadata: Metadata


class ImageKey(Body):
    key: str


def _kept(ctx: Context, volume: Volume, metadata: dict[str, str]) -> dict[str, str]:
    ctx.db.change(volume, image_metadata=metadata, updated_at=clock.now())
    return metadata


@actions.action("os-set_image_metadata", of="volume_id", rule=IMAGE_SET, out="metadata")
def set_image_metadata(ctx: Context, volume_id: str, body: ImageMetadata) -> dict[str, str]:
    volume = get(ctx, volume_id)
    return _kept(ctx, volume, (volume.image_metadata or {}) | body.metadata)


@actions.action("os-unset_image_metadata", of="volume_id", rule=IMAGE_REMOVE)
def unset_image_metadata(ctx: Context, volume_id: str, body: ImageKey) -> None:
    volume = get(ctx, volume_id)
    kept = volume.image_metadata or {}
    _value(kept, body.key, volume.id)
    _kept(ctx, volume, {name: value for name, value in kept.items() if name != body.key})


@actions.action("os-show_image_metadata", of="volume_id", rule=policy.SEE_IMAGE_METADATA, out="metadata", write=False)
def show_image_metadata(ctx: Context, volume_id: str, body: Any) -> dict[str, str]:
    return get(ctx, volume_id).image_metadata or {}
