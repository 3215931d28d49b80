"""The manifest: all that the program knows of a service; what is not named here does not exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pilvi.kernel.http.dialect import Dialect
from pilvi.kernel.http.resource import Resource
from pilvi.kernel.policy import Rule

if TYPE_CHECKING:
    from pilvi.kernel.program import Program
    from pilvi.kernel.workflows import Periodic, Workflow


class Service(msgspec.Struct, kw_only=True):
    """One service of the cloud."""

    name: str  # the package: compute
    type: str  # in the catalog: compute
    title: str  # what people call it: nova
    path: str  # where it stands on the one port: /compute
    port: int  # OpenStack's classic port
    catalog: str  # what the catalog's URL adds to the path: /v2.1
    dialect: Dialect
    resources: Sequence[Resource]
    rules: Sequence[Rule] = ()  # rules that routes' rules refer to, and those of operations
    workflows: Sequence[type[Workflow]] = ()
    hears: Sequence[tuple[type[msgspec.Struct], Callable[..., None]]] = ()
    periodic: Sequence[Periodic] = ()
    # bus topics served by a role: role -> function that starts serving and answers what must be stopped
    roles: dict[str, Callable[[Program], Callable[[], None]]] = {}
    # bus topics that hosts' agents may call, and those that they serve
    agents_call: Sequence[str] = ()
    agents_serve: Sequence[str] = ()
    heartbeats: Sequence[Any] = ()  # columns that say when a host was last heard of (Unix time)
    # makes what a new cloud must have (default flavors, the admin user); may be said twice
    bootstrap: Callable[[Program], None] | None = None
    # paths that stand a second time behind /{project_id}: prefix of the versioned part, e.g. "/v3"
    project_paths: str = ""
    # older names of a version's path: everything below it answers below them too
    path_aliases: dict[str, str] = {}
    # catalog aliases: further types under which the same endpoint is listed
    aliases: Sequence[str] = ()
    # finds what is orphaned or drifted: yields (kind, subject, sentence, mend or None)
    checks: Sequence[Callable[..., Any]] = ()
