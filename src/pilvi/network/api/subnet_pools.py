"""Subnet pools and address scopes in HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from msgspec import Meta

from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.shape import Body
from pilvi.network.api import listing
from pilvi.network.api.collection import Collection, answer, standard
from pilvi.network.api.rights import Target
from pilvi.network.api.shapes import Described, Ip, Uuid, changes
from pilvi.network.errors import AddressScopeNotFound, SubnetPoolNotFound
from pilvi.network.operations import sharing, subnet_pools
from pilvi.network.tables import AddressScope, SubnetPool

Length = Annotated[int, Meta(ge=0, le=128)]


class CreatePool(Described):
    """A subnet pool to be made."""

    prefixes: Annotated[list[Ip], Meta(min_length=1)]
    default_prefixlen: Length | None = None
    min_prefixlen: Length | None = None
    max_prefixlen: Length | None = None
    default_quota: Annotated[int, Meta(ge=0)] | None = None
    address_scope_id: Uuid | None = None
    is_default: bool = False
    shared: bool = False


class CreateScope(Described):
    """An address scope to be made."""

    ip_version: Literal[4, 6] = 4
    shared: bool = False


class Prefixes(Body):
    """Prefixes to be added or removed."""

    prefixes: Annotated[list[Ip], Meta(min_length=1)]


def views(ctx: Context, rows: Sequence[SubnetPool]) -> list[dict[str, Any]]:
    """Subnet pools as clients see them; prefix lengths are text, as they have always been."""
    shared = sharing.shared_among(ctx, "subnetpool", [row.id for row in rows])
    return [
        standard(row) | {
            "prefixes": row.prefixes, "ip_version": row.ip_version, "default_prefixlen": str(row.default_prefixlen),
            "min_prefixlen": str(row.min_prefixlen), "max_prefixlen": str(row.max_prefixlen), "default_quota": row.default_quota,
            "address_scope_id": row.address_scope_id, "is_default": row.is_default, "shared": row.id in shared,
        }
        for row in rows
    ]  # fmt: skip


def scopes_told(ctx: Context, rows: Sequence[AddressScope]) -> list[dict[str, Any]]:
    """Address scopes as clients see them."""
    shared = sharing.shared_among(ctx, "address_scope", [row.id for row in rows])
    found = []
    for row in rows:
        view = standard(row)
        for name in ("tags", "created_at", "updated_at", "revision_number", "description"):
            del view[name]
        found.append(view | {"ip_version": row.ip_version, "shared": row.id in shared})
    return found


def _shared_filter(object_type: str, kind: Any) -> listing.Filter:
    def condition(ctx: Context, values: list[str]) -> Any:
        ids = sharing.shared_ids(ctx.project_id, object_type)
        wanted = {listing.truth(text, "shared") for text in values}
        return sa.true() if len(wanted) > 1 else kind.c.id.in_(ids) if True in wanted else kind.c.id.not_in(ids)

    return condition


POOLS = Collection(
    "subnetpool", "subnetpools", SubnetPool, missing=SubnetPoolNotFound, views=views, create=CreatePool,
    update=changes(
        CreatePool, ["prefixes", "default_prefixlen", "min_prefixlen", "max_prefixlen", "default_quota", "address_scope_id", "is_default"]
    ),
    make=subnet_pools.create, change=subnet_pools.update, drop=subnet_pools.delete, visible=lambda ctx: sharing.visible(ctx, "subnetpool"),
    target=lambda ctx, row: Target(row.project_id, {"shared": lambda: sharing.is_shared(ctx.db, "subnetpool", row.id, ctx.project_id)}),
    hidden=("tags", "prefixes"), filters={"shared": _shared_filter("subnetpool", SubnetPool)},
)  # fmt: skip
SCOPES = Collection(
    "address_scope", "address_scopes", AddressScope, missing=AddressScopeNotFound, views=scopes_told, create=CreateScope,
    update=changes(CreateScope, ["shared"]), make=subnet_pools.create_scope, change=subnet_pools.update_scope, drop=subnet_pools.delete_scope,
    visible=lambda ctx: sharing.visible(ctx, "address_scope"),
    target=lambda ctx, row: Target(row.project_id, {"shared": lambda: sharing.is_shared(ctx.db, "address_scope", row.id, ctx.project_id)}),
    hidden=("tags",), filters={"shared": _shared_filter("address_scope", AddressScope)},
)  # fmt: skip


@POOLS.put("add_prefixes", "add_prefixes")
def add_prefixes(ctx: Context, ref: str, body: Prefixes) -> Answer:
    """Add prefixes."""
    row = POOLS.find(ctx, ref, "add_prefixes")
    subnet_pools.add_prefixes(ctx, row, body.prefixes)
    return answer({"prefixes": row.prefixes})


@POOLS.put("remove_prefixes", "remove_prefixes")
def remove_prefixes(ctx: Context, ref: str, body: Prefixes) -> Answer:
    """Remove prefixes."""
    row = POOLS.find(ctx, ref, "remove_prefixes")
    subnet_pools.remove_prefixes(ctx, row, body.prefixes)
    return answer({"prefixes": row.prefixes})
