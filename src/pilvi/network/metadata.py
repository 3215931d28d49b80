"""What guests ask of the metadata address, and how compute's answer travels back to their host."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class MetadataRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest asked, and where: in a network's DHCP namespace or in a router (the other is "")."""

    method: str
    path: str
    headers: dict[str, str]  # names in small letters
    body: bytes = b""
    client: str
    network_id: str = ""
    router_id: str = ""


class MetadataAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the guest is told."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""


MetadataHandler = Callable[[MetadataRequest], MetadataAnswer]
