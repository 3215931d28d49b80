"""Key pairs over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilvi.compute.api.paging import PageQuery
from pilvi.compute.operations import keypairs as operations
from pilvi.compute.policy import PREFIX
from pilvi.compute.tables.keypairs import KeyPair
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.db.pages import Window
from pilvi.kernel.http import UNSET, Answer, Body, Given, Listing, Resource, Version, View, since, wire
from pilvi.kernel.policy import Rule

keypairs = Resource("/v2.1/os-keypairs", tag="keypairs")

_MINE = "(rule:context_is_admin) or user_id:%(user_id)s"
INDEX = Rule(PREFIX + "os-keypairs:index", _MINE, "List a user's key pairs.", scope_types=("project",))
SHOW = Rule(PREFIX + "os-keypairs:show", _MINE, "Show a key pair.", scope_types=("project",))
CREATE = Rule(PREFIX + "os-keypairs:create", _MINE, "Create or import a key pair.", scope_types=("project",))
DELETE = Rule(PREFIX + "os-keypairs:delete", _MINE, "Delete a key pair.", scope_types=("project",))


class CreateKeyPair(Body):
    """A key to keep, or (until 2.91) to generate."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    public_key: Annotated[str, msgspec.Meta(max_length=16384)] | None = wire(default=None, required_since="2.92")
    type: Literal["ssh", "x509"] = since("2.2", default="ssh")
    user_id: Annotated[str, msgspec.Meta(max_length=255)] | None = since("2.10", default=None)


class KeyPairView(View):
    """A key pair as it is listed and made."""

    name: str
    public_key: str
    fingerprint: str
    type: str = since("2.2")
    user_id: str | Given = wire(default=UNSET)
    private_key: str | Given = wire(default=UNSET)


class KeyPairDetail(View):
    """A key pair in full."""

    name: str
    public_key: str
    fingerprint: str
    user_id: str
    id: int
    created_at: str
    updated_at: None = None
    deleted: bool = False
    deleted_at: None = None
    type: str = since("2.2")


class KeyPairsQuery(PageQuery):
    """Whose key pairs, and which part of the list."""

    user_id: str | None = since("2.10", default=None)


def _user(ctx: Context, asked: str | None, rule: Rule) -> str:
    """Whose key pairs are meant; others' are for administrators."""
    user_id = asked or ctx.user_id
    ctx.allow(rule.name, {"user_id": user_id, "project_id": ctx.project_id})
    return user_id


@keypairs.get("", rule=INDEX, out="keypairs")
def index(ctx: Context, query: KeyPairsQuery) -> Listing:
    """List key pairs."""
    assert ctx.version is not None
    paged = ctx.version >= Version(2, 35)
    most = ctx.program.settings.compute.max_page
    window = Window(limit=most if query.limit is None else min(query.limit, most), marker=query.marker) if paged else Window()
    found = operations.index(ctx.db, _user(ctx, query.user_id, INDEX), window)
    items = [{"keypair": KeyPairView(name=one.name, public_key=one.public_key, fingerprint=one.fingerprint, type=one.type)} for one in found]
    return Listing(items, more=found.more, marker=found[-1].name if found else None)


@keypairs.post("", rule=CREATE, write=None)
def create(ctx: Context, keypair: CreateKeyPair) -> Any:
    """Import a public key, or have a pair generated."""
    assert ctx.version is not None
    private = ""
    public = keypair.public_key
    if public is None:
        private, public = operations.generate() if keypair.type == "ssh" else operations.generate_certificate(keypair.user_id or ctx.user_id)
    wider = ctx.version >= Version(2, 92)

    def write(tx: Transaction) -> KeyPair:
        own = ctx.program.context(tx, ctx.caller, request_id=ctx.request_id)
        user_id = _user(own, keypair.user_id, CREATE)
        return operations.create(own, user_id=user_id, name=keypair.name, public_key=public, kind=keypair.type, wider_names=wider)

    made = ctx.program.db.run(write)
    view = KeyPairView(
        name=made.name, public_key=made.public_key, fingerprint=made.fingerprint, type=made.type, user_id=made.user_id,
        private_key=private or UNSET,
    )  # fmt: skip
    return Answer(201 if ctx.version >= Version(2, 2) else 200, {"keypair": view})


@keypairs.get("/{name}", rule=SHOW, out="keypair")
def show(ctx: Context, name: str, query: KeyPairsQuery) -> KeyPairDetail:
    """Show a key pair."""
    one = operations.get(ctx.db, _user(ctx, query.user_id, SHOW), name)
    return KeyPairDetail(
        name=one.name, public_key=one.public_key, fingerprint=one.fingerprint, user_id=one.user_id, type=one.type,
        id=int(one.fingerprint.replace(":", "")[:7], 16), created_at=clock.iso_micro(one.created_at),
    )  # fmt: skip


@keypairs.delete("/{name}", rule=DELETE, answers=202, until="2.1")
def delete_accepted(ctx: Context, name: str) -> None:
    """Delete a key pair."""
    operations.delete(ctx.db, ctx.user_id, name)


@keypairs.delete("/{name}", rule=DELETE, answers=204, since="2.2")
def delete(ctx: Context, name: str, query: KeyPairsQuery) -> None:
    """Delete a key pair."""
    operations.delete(ctx.db, _user(ctx, query.user_id, DELETE), name)
