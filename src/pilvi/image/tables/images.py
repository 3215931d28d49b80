"""Images, and beside them their properties and tags once more, for searching."""

from __future__ import annotations

from typing import Any, Literal

from pilvi.kernel.db import Key, LongKey, Ref, Row, Text, Word

Status = Literal["queued", "saving", "uploading", "importing", "active", "deactivated"]
Visibility = Literal["public", "private", "shared", "community"]


class Image(Row, table="image_images", indexes=[("owner",), ("visibility",), ("created_at",), ("status",)]):
    """An image.  Sizes in bytes, `min_disk` in GiB, `min_ram` in MiB."""

    id: Key
    name: str | None = None
    owner: Ref
    status: Word = "queued"
    visibility: Word = "shared"
    disk_format: Word | None = None
    container_format: Word | None = None
    size: int | None = None
    virtual_size: int | None = None
    min_disk: int = 0
    min_ram: int = 0
    checksum: Word | None = None
    os_hash_algo: Word | None = None
    os_hash_value: str | None = None
    protected: bool = False
    os_hidden: bool = False
    properties: dict[str, str]
    tags: list[str]
    store: Word | None = None  # where its data is
    importing: bool = False  # an import is under way
    failed_import: bool = False  # the last import failed
    writer: str = ""  # who is writing its data at the moment
    written_at: float | None = None  # when that writer last gave a sign of life
    created_at: float
    updated_at: float


class Property(Row, table="image_properties", indexes=[("name", "value")]):
    """A property as it is searched for; values beyond 255 characters are cut."""

    image: Key
    name: LongKey
    value: str


class Tag(Row, table="image_tags", indexes=[("tag",)]):
    """A tag as it is searched for."""

    image: Key
    tag: LongKey


class Member(Row, table="image_members", indexes=[("member",)]):
    """A project that an image is shared with."""

    image: Key
    member: Key
    status: Literal["pending", "accepted", "rejected"] = "pending"
    created_at: float
    updated_at: float


class Task(Row, table="image_tasks", indexes=[("image_id",), ("owner",)]):
    """Work that was asked for: an import."""

    id: Key
    type: Word = "api_image_import"
    image_id: Ref
    owner: Ref
    user_id: Ref
    request_id: Ref
    status: Literal["pending", "processing", "success", "failure"] = "pending"
    input: dict[str, Any]
    message: Text = ""
    created_at: float
    updated_at: float
    expires_at: float | None = None
