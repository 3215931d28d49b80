"""A small JSON schema: what placement's bodies and queries must look like, refused in the words that its clients know.

The words of JSON Schema that are used here: type, required, properties, patternProperties, additionalProperties,
minProperties, items, minItems, uniqueItems, enum, pattern, format (uuid), minLength, maxLength, minimum, maximum.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pilvi.kernel.ids import is_uuid

Schema = dict[str, Any]
_compiled = lru_cache(maxsize=512)(re.compile)
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float), "null": (type(None),), "boolean": (bool,),
}  # fmt: skip
_LONGEST = 300


def fault(value: Any, schema: Schema, path: str = "schema") -> str:
    """What is wrong with the value, "" when nothing is."""
    kinds = schema.get("type")
    if kinds is not None:
        wanted = (kinds,) if isinstance(kinds, str) else kinds
        if not any(_is(value, kind) for kind in wanted):
            return _told(f"{_show(value)} is not of type {', '.join(map(repr, wanted))}", "type", path)
    for word, wanted in schema.items():
        check = _WORDS.get(word)
        if check is not None:
            found = check(value, wanted, schema, path)
            if found:
                return found
    return ""


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _told(what: str, word: str, path: str) -> str:
    return f"{what}\n\nFailed validating {word!r} in {path}"


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _properties(value: Any, wanted: Any, schema: Schema, path: str) -> str:
    if isinstance(value, dict):
        for name, inner in wanted.items():
            if name in value:
                found = fault(value[name], inner, f"{path}['properties'][{name!r}]")
                if found:
                    return found
    return ""


def _patterns(value: Any, wanted: Any, schema: Schema, path: str) -> str:
    if isinstance(value, dict):
        for pattern, inner in wanted.items():
            matches = _compiled(pattern).search
            for name, one in value.items():
                if matches(name):
                    found = fault(one, inner, f"{path}['patternProperties'][{pattern!r}]")
                    if found:
                        return found
    return ""


def _additional(value: Any, wanted: Any, schema: Schema, path: str) -> str:
    if wanted is not False or not isinstance(value, dict):
        return ""
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    strange = [name for name in value if name not in known and not any(_compiled(pattern).search(name) for pattern in patterns)]
    if not strange:
        return ""
    names = ", ".join(_show(name) for name in sorted(strange)[:20])
    if patterns:
        verb = "does" if len(strange) == 1 else "do"
        regexes = ", ".join(repr(pattern) for pattern in sorted(patterns))
        return _told(f"{names} {verb} not match any of the regexes: {regexes}", "additionalProperties", path)
    verb = "was" if len(strange) == 1 else "were"
    return _told(f"Additional properties are not allowed ({names} {verb} unexpected)", "additionalProperties", path)


def _required(value: Any, wanted: Any, schema: Schema, path: str) -> str:
    if isinstance(value, dict):
        for name in wanted:
            if name not in value:
                return _told(f"{name!r} is a required property", "required", path)
    return ""


def _items(value: Any, wanted: Any, schema: Schema, path: str) -> str:
    if isinstance(value, list):
        for one in value:
            found = fault(one, wanted, f"{path}['items']")
            if found:
                return found
    return ""


def _unique(value: Any, wanted: Any, schema: Schema, path: str) -> str:
    if wanted and isinstance(value, list) and len({repr(one) for one in value}) < len(value):
        return _told(f"{_show(value)} has non-unique elements", "uniqueItems", path)
    return ""


def _format(value: Any, wanted: Any, schema: Schema, path: str) -> str:
    if isinstance(value, str) and not is_uuid(value):
        return _told(f"{_show(value)} is not a {wanted!r}", "format", path)
    return ""


def _pattern(value: Any, wanted: Any, schema: Schema, path: str) -> str:
    if isinstance(value, str) and not _compiled(wanted).search(value):
        return _told(f"{_show(value)} does not match {wanted!r}", "pattern", path)
    return ""


def _enum(value: Any, wanted: Any, schema: Schema, path: str) -> str:
    return "" if value in wanted else _told(f"{_show(value)} is not one of {wanted!r}", "enum", path)


def _size(word: str, kind: type, too: Callable[[int, int], bool], sentence: str) -> Callable[[Any, Any, Schema, str], str]:
    def check(value: Any, wanted: Any, schema: Schema, path: str) -> str:
        if isinstance(value, kind) and too(len(value), wanted):  # type: ignore[arg-type]
            return _told(f"{_show(value)} {sentence}", word, path)
        return ""

    return check


def _bound(word: str, too: Callable[[float, float], bool], sentence: str) -> Callable[[Any, Any, Schema, str], str]:
    def check(value: Any, wanted: Any, schema: Schema, path: str) -> str:
        if isinstance(value, (int, float)) and too(value, wanted):
            return _told(f"{_show(value)} is {sentence} of {wanted!r}", word, path)
        return ""

    return check


def _less(value: float, bound: float) -> bool:
    return value < bound


def _more(value: float, bound: float) -> bool:
    return value > bound


_WORDS: dict[str, Callable[[Any, Any, Schema, str], str]] = {
    "required": _required,
    "additionalProperties": _additional,
    "properties": _properties,
    "patternProperties": _patterns,
    "items": _items,
    "uniqueItems": _unique,
    "enum": _enum,
    "pattern": _pattern,
    "format": _format,
    "minLength": _size("minLength", str, _less, "is too short"),
    "maxLength": _size("maxLength", str, _more, "is too long"),
    "minItems": _size("minItems", list, _less, "should be non-empty"),
    "minProperties": _size("minProperties", dict, _less, "should be non-empty"),
    "minimum": _bound("minimum", _less, "less than the minimum"),
    "maximum": _bound("maximum", _more, "greater than the maximum"),
}


def obj(properties: dict[str, Any] | None = None, *, required: tuple[str, ...] = (), patterns: dict[str, Any] | None = None, **more: Any) -> Schema:
    """The schema of an object with these properties, and no others."""
    told: Schema = {"type": "object", "additionalProperties": False}
    if required:
        told["required"] = list(required)
    if properties:
        told["properties"] = properties
    if patterns:
        told["patternProperties"] = patterns
    return told | more


def body(value: Any, schema: Schema) -> str:
    """What is wrong with a body, as the error says it."""
    found = fault(value, schema)
    return f"JSON does not validate: {found}" if found else ""
