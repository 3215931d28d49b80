"""Flavors: the sizes of servers that an operator offers."""

from __future__ import annotations

from pilvi.kernel.db import LongKey, Row, Serial, Text


class Flavor(Row, table="compute_flavors", unique=[("flavorid",), ("name",)]):
    """A size of server.  Memory and swap in MiB, disks in GiB."""

    id: Serial = 0
    flavorid: str
    name: str
    vcpus: int
    ram: int
    disk: int = 0
    ephemeral: int = 0
    swap: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    disabled: bool = False
    description: Text | None = None
    extra_specs: dict[str, str] = {}
    created_at: float = 0.0
    updated_at: float | None = None


class FlavorAccess(Row, table="compute_flavor_access"):
    """A project that may use a flavor which is not public."""

    flavorid: LongKey
    project_id: LongKey
