"""Types that several resources' bodies share."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from msgspec import UNSET, Meta, UnsetType

from pilvi.kernel.http.shape import Body, fields, wire

Name = Annotated[str, Meta(max_length=255)]
Text = Annotated[str, Meta(max_length=255)]
Uuid = Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z")]
Mac = Annotated[str, Meta(pattern=r"\A([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\Z")]
Ip = Annotated[str, Meta(max_length=64)]
Tag = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A[^,/]+\Z")]
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
DnsName = Annotated[str, Meta(max_length=255, pattern=rf"\A({_LABEL}(\.{_LABEL})*\.?)?\Z")]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]


class PoolGiven(TypedDict):
    """A range of addresses as clients send it."""

    start: Ip
    end: Ip


class RouteGiven(TypedDict):
    """A route as clients send it."""

    destination: Ip
    nexthop: Ip


class FixedIpGiven(TypedDict, total=False):
    """An address that a port is to have: in a subnet, exactly this one, or both."""

    subnet_id: Uuid
    ip_address: Ip


class Described(Body):
    """What all records may be given."""

    name: Name = ""
    description: Text = ""
    tags: list[Tag] = wire(factory=list)


def changes(create: type[Body], names: Sequence[str], *, also: dict[str, Any] | None = None) -> type[Body]:
    """The body of an update: these fields of the creating one, each of which may be left out."""
    hints = typing.get_type_hints(create, include_extras=True)
    known = {field.name: field for field in fields(create)}
    doc = f"What can be changed of what {create.__name__} made."
    namespace: dict[str, Any] = {"__annotations__": {}, "__module__": create.__module__, "__doc__": doc}
    for name in ("name", "description", *names):
        if name in known:
            namespace["__annotations__"][name] = hints[name] | UnsetType
            namespace[name] = wire(known[name].wire, default=UNSET)
    for name, hint in (also or {}).items():
        namespace["__annotations__"][name] = hint | UnsetType
        namespace[name] = wire(name, default=UNSET)
    meta: Any = type(Body)
    return meta(create.__name__.replace("Create", "Change"), (Body,), namespace)


