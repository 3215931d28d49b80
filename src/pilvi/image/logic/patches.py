"""Changes as JSON patches: read in either of the forms that image speaks, and applied to what an image says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pilvi.image.errors import WrongType
from pilvi.kernel.errors import Conflict, Forbidden, Invalid

V21 = "application/openstack-images-v2.1-json-patch"
V20 = "application/openstack-images-v2.0-json-patch"
_OPERATIONS = ("add", "replace", "remove")

CHANGEABLE = frozenset(
    ["name", "visibility", "disk_format", "container_format", "min_disk", "min_ram", "protected", "os_hidden", "owner", "tags"]
)
READ_ONLY = frozenset(
    [
        "id", "status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at", "file", "self",
        "schema", "direct_url",
    ]
)  # fmt: skip
RESERVED = frozenset(["is_public", "location", "deleted", "deleted_at", "stores"])
RESERVED_PREFIX = "os_glance"


class Step(msgspec.Struct, frozen=True):
    """One change: an operation on the attribute at a path."""

    op: str
    path: tuple[str, ...]
    value: Any = None


def steps(kind: str, body: Any) -> list[Step]:
    """The steps of a patch; raises WrongType for a form that is not spoken, Invalid for what is no patch."""
    form = kind.partition(";")[0].strip().lower()
    if form not in (V20, V21):
        raise WrongType(f"Content type '{form[:80]}' is not supported for changing an image; use {V21}.")
    if not isinstance(body, list):
        raise Invalid("Request body must be a JSON array of operation objects.")
    return [_step(one, new=form == V21) for one in body]


def _step(one: Any, *, new: bool) -> Step:
    if not isinstance(one, dict):
        raise Invalid("Operations must be JSON objects.")
    if new:
        op, path = one.get("op"), one.get("path")
    else:
        said = [name for name in _OPERATIONS if name in one]
        op = said[0] if len(said) == 1 else None
        path = one.get(op) if op else None
    if op not in _OPERATIONS:
        raise Invalid(f"Operations must be one of {', '.join(_OPERATIONS)}, not '{str(op)[:40]}'.")
    if not isinstance(path, str) or not path.startswith("/") or path.endswith("/") or "//" in path:
        raise Invalid(f"Pointer '{str(path)[:100]}' is not one of an attribute: it begins with '/' and has no empty part.")
    if op != "remove" and "value" not in one:
        raise Invalid(f"Operation '{op}' requires a member named 'value'.")
    parts = tuple(_unescape(part) for part in path[1:].split("/"))
    if len(parts) > 1 and parts[0] != "locations":
        raise Invalid(f"Pointer '{path[:100]}' contains more than one part, and is not about locations.")
    return Step(op, parts, one.get("value"))


def _unescape(part: str) -> str:
    if "~" in part.replace("~0", "").replace("~1", ""):
        raise Invalid(f"Pointer '/{part[:100]}' contains a '~' that is not part of ~0 or ~1.")
    return part.replace("~1", "/").replace("~0", "~")


def require_free(name: str) -> None:
    """Raise Forbidden for a name that only the service itself writes."""
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def applied(changes: list[Step], properties: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str] | None]:
    """What the steps say: attributes with their new values, and the properties as they are to be (None: as they were)."""
    attributes: dict[str, Any] = {}
    kept = dict(properties)
    for step in changes:
        name = step.path[0]
        if name == "locations":
            raise Forbidden("Locations of image data are not for callers to set in this cloud; upload or import the data.")
        if name == "stores" and step.op == "remove":
            continue  # openstacksdk takes it for a property, and removes those that it is not told to keep
        require_free(name)
        if name in CHANGEABLE:
            if step.op == "remove":
                raise Forbidden(f"Property {name} may not be removed.")
            attributes[name] = step.value
            continue
        if step.op in ("replace", "remove") and name not in kept:
            raise Conflict(f"Property {name} does not exist.")
        if step.op == "remove":
            del kept[name]
        else:
            kept[name] = step.value
    return attributes, kept if kept != properties else None
