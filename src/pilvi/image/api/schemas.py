"""JSON schemas of what image speaks of; its clients read them before they send anything."""

from __future__ import annotations

from typing import Any

from pilvi.image import policy
from pilvi.image.operations.images import VISIBILITIES
from pilvi.image.operations.members import STATUSES
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.kernel.http import Resource

schemas = Resource("/v2/schemas", tag="schemas")

_UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
Shape = dict[str, Any]


def _text(description: str, *, null: bool = False, read_only: bool = False, **more: Any) -> Shape:
    told: Shape = {"type": ["null", "string"] if null else "string", "description": description, **more}
    return {**told, "readOnly": True} if read_only else told


def _whole(description: str, *, null: bool = False, read_only: bool = False) -> Shape:
    told: Shape = {"type": ["null", "integer"] if null else "integer", "description": description}
    return {**told, "readOnly": True} if read_only else told


_CREATED = _text("When it was created.", read_only=True)
_UPDATED = _text("When it was last changed.", read_only=True)
_SELF = _text("Its own address.", read_only=True)
_SCHEMA = _text("The address of its schema.", read_only=True)
_TIMES = {"created_at": _CREATED, "updated_at": _UPDATED}


def _image(ctx: Context) -> Shape:
    settings = ctx.program.settings.image
    return {
        "name": "image",
        "properties": {
            "id": _text("The image's id.", pattern=_UUID),
            "name": _text("A name for people.", null=True, maxLength=255),
            "status": _text("How far its data is.", read_only=True),
            "visibility": _text("Who may see it.", enum=list(VISIBILITIES)),
            "protected": {"type": "boolean", "description": "Whether it cannot be deleted."},
            "os_hidden": {"type": "boolean", "description": "Whether lists leave it out."},
            "checksum": _text("The MD5 of its data.", null=True, read_only=True, maxLength=32),
            "os_hash_algo": _text("The algorithm of os_hash_value.", null=True, read_only=True, maxLength=64),
            "os_hash_value": _text("The hash of its data.", null=True, read_only=True, maxLength=128),
            "owner": _text("The project that it belongs to.", null=True, maxLength=255),
            "size": _whole("Bytes of data.", null=True, read_only=True),
            "virtual_size": _whole("Bytes of the disk that it holds.", null=True, read_only=True),
            "container_format": _text("How it is packed.", null=True, enum=[None, *settings.container_formats]),
            "disk_format": _text("What kind of disk it is.", null=True, enum=[None, *settings.disk_formats]),
            "created_at": _CREATED,
            "updated_at": _UPDATED,
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}, "description": "Words to find it by."},
            "direct_url": _text("Where its data is.", read_only=True),
            "min_ram": _whole("MiB of memory that a server from it needs."),
            "min_disk": _whole("GiB of disk that a server from it needs."),
            "self": _SELF,
            "file": _text("The address of its data.", read_only=True),
            "stores": _text("The stores that its data is in.", read_only=True),
            "schema": _SCHEMA,
            "architecture": _text("The processor architecture that it is for.", is_base=False),
            "instance_uuid": _text("The server that it is a snapshot of.", is_base=False),
            "kernel_id": _text("The image of its kernel.", null=True, is_base=False),
            "ramdisk_id": _text("The image of its ramdisk.", null=True, is_base=False),
            "os_distro": _text("The distribution of its operating system.", is_base=False),
            "os_version": _text("The version of its operating system.", is_base=False),
        },
        "additionalProperties": {"type": "string"},
        "links": [{"href": "{self}", "rel": "self"}, {"href": "{file}", "rel": "enclosure"}, {"href": "{schema}", "rel": "describedby"}],
    }


_MEMBER: Shape = {
    "name": "member",
    "properties": {
        "member_id": _text("The project that an image is shared with."),
        "image_id": _text("The image.", pattern=_UUID),
        "status": _text("What the project says to it.", enum=list(STATUSES)),
        "schema": _SCHEMA,
        **_TIMES,
    },
}
_TASK: Shape = {
    "name": "task",
    "properties": {
        "id": _text("The task's id.", pattern=_UUID),
        "type": _text("What is to be done.", enum=["import", "api_image_import"]),
        "status": _text("How far it is.", enum=["pending", "processing", "success", "failure"]),
        "input": {"type": ["null", "object"], "description": "What was asked for."},
        "result": {"type": ["null", "object"], "description": "What came of it."},
        "owner": _text("The project that asked."),
        "message": _text("Why it failed."),
        "image_id": _text("The image that it is about."),
        "request_id": _text("The request that asked."),
        "user_id": _text("Who asked."),
        "expires_at": _text("Until when it is kept.", null=True),
        "self": _SELF,
        "schema": _SCHEMA,
        **_TIMES,
    },
}
_TAG: Shape = {"name": "tag", "required": ["name"], "properties": {"name": _text("The tag.", maxLength=80), **_TIMES}}
_TYPE: Shape = {
    "name": "resource_type_association",
    "required": ["name"],
    "properties": {
        "name": _text("The type of resource.", maxLength=80),
        "prefix": _text("What its properties' names begin with.", maxLength=80),
        "properties_target": _text("Which of its properties are meant.", maxLength=80),
        **_TIMES,
    },
    "additionalProperties": False,
}
_PROPERTY: Shape = {
    "name": "property",
    "required": ["name", "title", "type"],
    "properties": {
        "name": _text("The property.", maxLength=80),
        "title": _text("Its name for people."),
        "description": _text("What it means."),
        "type": _text("The kind of its values.", enum=["array", "boolean", "integer", "number", "object", "string", None]),
        "operators": {"type": "array", "items": {"type": "string"}},
        "enum": {"type": "array"},
        "default": {},
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
        "minLength": {"type": "integer"},
        "maxLength": {"type": "integer"},
        "pattern": {"type": "string"},
        "items": {"type": "object"},
        "readonly": {"type": "boolean"},
    },
}
_OBJECT: Shape = {
    "name": "object",
    "required": ["name"],
    "properties": {
        "name": _text("The object.", maxLength=255),
        "description": _text("What it means."),
        "required": {"type": "array", "items": {"type": "string"}},
        "properties": {"type": "object", "additionalProperties": {"type": "object"}},
        "self": _SELF,
        "schema": _SCHEMA,
        **_TIMES,
    },
}
_NAMESPACE: Shape = {
    "name": "namespace",
    "required": ["namespace"],
    "properties": {
        "namespace": _text("The namespace's name.", maxLength=80),
        "display_name": _text("Its name for people.", maxLength=80),
        "description": _text("What it is for.", maxLength=500),
        "visibility": _text("Who may see it.", enum=["public", "private"]),
        "protected": {"type": "boolean"},
        "owner": _text("The project that it belongs to.", maxLength=255),
        "resource_type_associations": {"type": "array", "items": {"type": "object"}},
        "properties": {"type": "object"},
        "objects": {"type": "array", "items": {"type": "object"}},
        "tags": {"type": "array", "items": {"type": "object"}},
        "self": _SELF,
        "schema": _SCHEMA,
        **_TIMES,
    },
}


def _several(name: str, of: Shape, key: str = "") -> Shape:
    """The schema of a list."""
    return {
        "name": name,
        "properties": {
            key or name: {"type": "array", "items": of},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}],
    }


_PLAIN: dict[str, Shape] = {
    "member": _MEMBER,
    "members": _several("members", _MEMBER),
    "task": _TASK,
    "tasks": _several("tasks", _TASK),
}
_METADEFS: dict[str, Shape] = {
    "namespace": _NAMESPACE,
    "namespaces": _several("namespaces", _NAMESPACE),
    "resource_type": _TYPE,
    "resource_types": _several("resource_type_associations", _TYPE),
    "property": _PROPERTY,
    "properties": {"name": "properties", "properties": {"properties": {"type": "object", "additionalProperties": _PROPERTY}}},
    "object": _OBJECT,
    "objects": _several("objects", _OBJECT),
    "tag": _TAG,
    "tags": _several("tags", _TAG),
}


@schemas.get("/{name}", rule=policy.SCHEMAS)
def show(ctx: Context, name: str) -> Shape:
    """Show the schema of an image, a member, a task, or of a list of them."""
    if name == "image":
        return _image(ctx)
    if name == "images":
        return _several("images", _image(ctx))
    return _found(_PLAIN, name)


@schemas.get("/metadefs/{name}", rule=policy.SCHEMAS)
def show_metadef(ctx: Context, name: str) -> Shape:
    """Show the schema of a kind of metadata definition."""
    return _found(_METADEFS, name)


def _found(known: dict[str, Shape], name: str) -> Shape:
    if name not in known:
        raise NotFound(f"There is no schema '{name[:60]}'; there are: {', '.join(known)}.")
    return known[name]
