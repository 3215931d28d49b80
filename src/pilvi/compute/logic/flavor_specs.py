"""Flavor specs: what a flavor asks of placement and of the host, beside its size."""

from __future__ import annotations

import re
from math import ceil

from pilvi.compute.tables.servers import FlavorCopy, ImageCopy

_RESOURCES = re.compile(r"\Aresources\d*:([A-Z0-9_]+)\Z")
_TRAIT = re.compile(r"\Atrait\d*:([A-Z0-9_]+)\Z")


def resources(flavor: FlavorCopy, *, on_volume: bool) -> dict[str, int]:
    """What a server of this flavor holds in placement; its root disk does not count when it lies on a volume."""
    disk = (0 if on_volume else flavor.disk) + flavor.ephemeral + ceil(flavor.swap / 1024)
    wanted = {"VCPU": flavor.vcpus, "MEMORY_MB": flavor.ram, "DISK_GB": disk}
    for key, value in flavor.extra_specs.items():
        match = _RESOURCES.match(key)
        if match and value.isdigit():
            wanted[match[1]] = int(value)
    return {name: amount for name, amount in wanted.items() if amount > 0}


def traits(flavor: FlavorCopy, image: ImageCopy) -> tuple[set[str], set[str]]:
    """The traits that a host must have, and those that it must not have."""
    required: set[str] = set()
    forbidden: set[str] = set()
    for key, value in [*flavor.extra_specs.items(), *image.properties.items()]:
        match = _TRAIT.match(key)
        if match:
            (forbidden if value == "forbidden" else required).add(match[1])
    return required, forbidden


def capabilities(flavor: FlavorCopy) -> dict[str, str]:
    """The scoped specs `capabilities:x` (and unscoped ones), which a host's facts must satisfy."""
    found: dict[str, str] = {}
    for key, value in flavor.extra_specs.items():
        scope, colon, name = key.partition(":")
        if colon and scope == "capabilities":
            found[name] = value
        elif not colon:
            found[key] = value
    return found


def matches(value: str, wish: str) -> bool:
    """Whether a host's value satisfies a wish in the language of extra specs: `>= 2`, `s== x`, `<in> x`, `<or> a <or> b`, or plain."""
    words = wish.split()
    if not words:
        return value == wish
    operator, rest = words[0], words[1:]
    if operator in _NUMBERS and rest:
        try:
            return _NUMBERS[operator](float(value), float(rest[0]))
        except ValueError:
            return False
    if operator in _TEXTS and rest:
        return _TEXTS[operator](value, rest[0])
    if operator == "<in>" and rest:
        return " ".join(rest) in value
    if operator == "<all-in>":
        return all(word in value for word in rest)
    if operator == "<or>":
        return value in [part.strip() for part in wish.split("<or>") if part.strip()]
    return value == wish


_NUMBERS = {
    "=": lambda have, need: have >= need,
    "==": lambda have, need: have == need,
    "!=": lambda have, need: have != need,
    ">=": lambda have, need: have >= need,
    "<=": lambda have, need: have <= need,
    ">": lambda have, need: have > need,
    "<": lambda have, need: have < need,
}
_TEXTS = {
    "s==": lambda have, need: have == need,
    "s!=": lambda have, need: have != need,
    "s>=": lambda have, need: have >= need,
    "s>": lambda have, need: have > need,
    "s<=": lambda have, need: have <= need,
    "s<": lambda have, need: have < need,
}
