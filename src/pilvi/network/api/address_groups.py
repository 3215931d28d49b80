"""Address groups in HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from pilvi.kernel.context import Context
from pilvi.kernel.http.request import Answer
from pilvi.kernel.http.shape import Body, wire
from pilvi.network.api.collection import Collection, answer, standard
from pilvi.network.api.rights import Target
from pilvi.network.api.shapes import Described, Ip, changes
from pilvi.network.errors import AddressGroupNotFound
from pilvi.network.operations import address_groups, sharing
from pilvi.network.tables import AddressGroup


class CreateAddressGroup(Described):
    """An address group to be made."""

    addresses: list[Ip] = wire(factory=list)


class Addresses(Body):
    """Addresses to be added or removed."""

    addresses: Annotated[list[Ip], Meta(min_length=1)]


def views(ctx: Context, rows: Sequence[AddressGroup]) -> list[dict[str, Any]]:
    """Address groups as clients see them."""
    shared = sharing.shared_among(ctx, "address_group", [row.id for row in rows])
    return [standard(row) | {"addresses": row.addresses, "shared": row.id in shared} for row in rows]


COLLECTION = Collection(
    "address_group", "address_groups", AddressGroup, missing=AddressGroupNotFound, views=views, create=CreateAddressGroup,
    update=changes(CreateAddressGroup, []), make=address_groups.create, change=address_groups.update, drop=address_groups.delete,
    visible=lambda ctx: sharing.visible(ctx, "address_group"), hidden=("tags", "addresses"),
    target=lambda ctx, row: Target(row.project_id, {"shared": lambda: sharing.is_shared(ctx.db, "address_group", row.id, ctx.project_id)}),
)  # fmt: skip


@COLLECTION.put("add_addresses", "add_addresses_to_address_group")
def add_addresses(ctx: Context, ref: str, body: Addresses) -> Answer:
    """Add addresses."""
    row = COLLECTION.find(ctx, ref, "add_addresses_to_address_group")
    address_groups.add(ctx, row, body.addresses)
    return answer({"address_group": COLLECTION.told(ctx, [row])[0]})


@COLLECTION.put("remove_addresses", "remove_addresses_from_address_group")
def remove_addresses(ctx: Context, ref: str, body: Addresses) -> Answer:
    """Remove addresses."""
    row = COLLECTION.find(ctx, ref, "remove_addresses_from_address_group")
    address_groups.remove(ctx, row, body.addresses)
    return answer({"address_group": COLLECTION.told(ctx, [row])[0]})
