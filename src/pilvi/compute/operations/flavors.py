"""Flavors: made and withdrawn by operators, seen by those who may use them."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from pilvi.compute.logic import known_specs
from pilvi.compute.tables.births import Birth
from pilvi.compute.tables.flavors import Flavor, FlavorAccess
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.db.pages import Page, Window, page
from pilvi.kernel.errors import Conflict, Invalid, NotFound
from pilvi.kernel.ids import new_id
from pilvi.kernel.program import Program

SORTABLE = (
    "created_at", "description", "disabled", "ephemeral", "flavorid", "id", "is_public", "disk", "ram", "name", "rxtx_factor", "swap",
    "updated_at", "vcpus",
)  # fmt: skip
_COLUMNS = {"ephemeral_gb": "ephemeral", "root_gb": "disk", "memory_mb": "ram"}
_ID = re.compile(r"\A[a-zA-Z0-9. _-]*\Z")
_KEY = re.compile(r"\A[a-zA-Z0-9_:. -]{1,255}\Z")


_FIRST = (  # flavorid, name, MiB, GiB, virtual CPUs
    ("1", "m1.tiny", 512, 1, 1), ("2", "m1.small", 2048, 20, 1), ("3", "m1.medium", 4096, 40, 2), ("4", "m1.large", 8192, 80, 4),
    ("5", "m1.xlarge", 16384, 160, 8), ("42", "m1.nano", 128, 1, 1), ("84", "m1.micro", 192, 1, 1),
)  # fmt: skip


class FlavorNotFound(NotFound):
    """No such flavor, or one that the caller may not use."""


def index(
    ctx: Context, *, window: Window, public: bool | None, min_disk: int | None = None, min_ram: int | None = None
) -> Page[Flavor]:
    """The flavors that the caller may use; `public` None (administrators): all of them."""
    where: list[Any] = [Flavor.c.disabled.is_(False)] if not ctx.is_admin else []
    mine = Flavor.c.flavorid.in_(sa.select(FlavorAccess.c.flavorid).where(FlavorAccess.c.project_id == ctx.project_id))
    if not ctx.is_admin:
        where.append(sa.or_(Flavor.c.is_public.is_(True), mine) if public is not False else sa.and_(Flavor.c.is_public.is_(False), mine))
    elif public is True:
        where.append(sa.or_(Flavor.c.is_public.is_(True), mine))
    elif public is False:
        where.append(Flavor.c.is_public.is_(False))
    if min_disk is not None:
        where.append(Flavor.c.disk >= min_disk)
    if min_ram is not None:
        where.append(Flavor.c.ram >= min_ram)
    sort = tuple((_COLUMNS.get(name, name), down) for name, down in window.sort) or (("flavorid", False),)
    wanted = Window(sort=sort, limit=window.limit, marker=window.marker)
    return page(ctx.db, Flavor, *where, window=wanted, sortable=SORTABLE, key="flavorid")


def get(ctx: Context, ref: str) -> Flavor:
    """The flavor of that id, if the caller may use it; raises FlavorNotFound."""
    flavor = ctx.db.one(Flavor, Flavor.c.flavorid == ref)
    if flavor is None or not (flavor.is_public or ctx.is_admin or ctx.db.get(FlavorAccess, flavor.flavorid, ctx.project_id)):
        raise FlavorNotFound(f"Flavor {ref} could not be found.")
    return flavor


def to_change(ctx: Context, ref: str) -> Flavor:
    """The same, locked."""
    flavor = ctx.db.get_to_change(Flavor, get(ctx, ref).id)
    if flavor is None:
        raise FlavorNotFound(f"Flavor {ref} could not be found.")
    return flavor


def create(
    ctx: Context, *, name: str, vcpus: int, ram: int, disk: int, flavorid: str | None = None, ephemeral: int = 0, swap: int = 0,
    rxtx_factor: float = 1.0, is_public: bool = True, description: str | None = None,
) -> Flavor:  # fmt: skip
    """Make a flavor; its id and its name are its own."""
    wanted = new_id() if flavorid in (None, "", "auto") else str(flavorid)
    if not _ID.match(wanted):
        raise Invalid(f"Invalid input for field flavor.id: '{wanted}' may hold letters, digits, spaces, '.', '_' and '-'.", field="flavor.id")
    if wanted != wanted.strip():
        raise Invalid("Invalid input for field flavor.id: it may not begin or end with a space.", field="flavor.id")
    if ctx.db.count(Flavor, Flavor.c.name == name):
        raise Conflict(f"Flavor with name {name} already exists.")
    if ctx.db.count(Flavor, Flavor.c.flavorid == wanted):
        raise Conflict(f"Flavor with ID {wanted} already exists.")
    return ctx.db.insert(
        Flavor(
            flavorid=wanted, name=name, vcpus=vcpus, ram=ram, disk=disk, ephemeral=ephemeral, swap=swap, rxtx_factor=rxtx_factor,
            is_public=is_public, description=description, created_at=clock.now(),
        )
    )  # fmt: skip


def describe(ctx: Context, ref: str, description: str | None) -> Flavor:
    """Change what is said of a flavor."""
    return ctx.db.change(to_change(ctx, ref), description=description, updated_at=clock.now())


def delete(ctx: Context, ref: str) -> None:
    """Withdraw a flavor; servers that have it keep it."""
    flavor = to_change(ctx, ref)
    ctx.db.delete(FlavorAccess, FlavorAccess.c.flavorid == flavor.flavorid)
    ctx.db.remove(flavor)


def bootstrap(program: Program) -> None:
    """Give a new cloud the flavors that everyone expects: once, and only when nobody has made any."""

    def work(tx: Transaction) -> None:
        if tx.get(Birth, "flavors") is not None:
            return
        now = clock.now()
        tx.insert(Birth(name="flavors", at=now))
        if not tx.count(Flavor):
            for flavorid, name, ram, disk, vcpus in _FIRST:
                tx.insert(Flavor(flavorid=flavorid, name=name, vcpus=vcpus, ram=ram, disk=disk, created_at=now))

    program.db.run(work)


# -- extra specs -----------------------------------------------------------------------------------


def set_specs(ctx: Context, ref: str, specs: dict[str, str], *, known: bool) -> dict[str, str]:
    """Add or overwrite extra specs; answers those that were sent.  `known`: hold known namespaces to what they have."""
    flavor = to_change(ctx, ref)
    for key, value in specs.items():
        if not _KEY.match(key):
            sentence = f"Invalid input for field extra_specs: the key '{key[:100]}' may hold letters, digits, spaces, and . _ : -"
            raise Invalid(sentence, field="extra_specs")
        if len(value) > 255:
            raise Invalid(f"Invalid input for field extra_specs.{key}: it is longer than 255 characters.", field=f"extra_specs.{key}")
        if known:
            known_specs.check(key, value)
    ctx.db.change(flavor, extra_specs={**flavor.extra_specs, **specs}, updated_at=clock.now())
    return specs


def spec(ctx: Context, ref: str, key: str) -> str:
    """The value of one extra spec; raises NotFound."""
    return _spec(get(ctx, ref), key)


def _spec(flavor: Flavor, key: str) -> str:
    if key not in flavor.extra_specs:
        raise NotFound(f"Flavor {flavor.flavorid} has no extra specs with key {key}.")
    return flavor.extra_specs[key]


def remove_spec(ctx: Context, ref: str, key: str) -> None:
    """Take one extra spec away; raises NotFound."""
    flavor = to_change(ctx, ref)
    _spec(flavor, key)
    ctx.db.change(flavor, extra_specs={name: value for name, value in flavor.extra_specs.items() if name != key}, updated_at=clock.now())


# -- who may use a flavor that is not public ---------------------------------------------------------


def access(ctx: Context, ref: str) -> list[FlavorAccess]:
    """The projects that may use the flavor; NotFound for a public one, which everyone may use."""
    flavor = get(ctx, ref)
    if flavor.is_public:
        raise NotFound("Access list not available for public flavors.")
    return ctx.db.all(FlavorAccess, FlavorAccess.c.flavorid == flavor.flavorid, order=[FlavorAccess.c.project_id])


def add_access(ctx: Context, ref: str, project_id: str) -> list[FlavorAccess]:
    """Let a project use the flavor."""
    from pilvi import identity

    flavor = to_change(ctx, ref)
    if flavor.is_public:
        raise Conflict("Can not add access to a public flavor.")
    if "identity" in ctx.program.services and not identity.project_exists(ctx.db, project_id):
        raise Invalid(f"Project ID {project_id} is not a valid project.", field="tenant")
    if ctx.db.get(FlavorAccess, flavor.flavorid, project_id):
        raise Conflict(f"Flavor access already exists for flavor {ref} and project {project_id} combination.")
    ctx.db.insert(FlavorAccess(flavorid=flavor.flavorid, project_id=project_id))
    return access(ctx, ref)


def remove_access(ctx: Context, ref: str, project_id: str) -> list[FlavorAccess]:
    """Let a project use the flavor no more."""
    flavor = get(ctx, ref)
    where = (FlavorAccess.c.flavorid == flavor.flavorid, FlavorAccess.c.project_id == project_id)
    if not ctx.db.delete(FlavorAccess, *where):
        raise NotFound(f"Flavor access not found for {ref} / {project_id} combination.")
    return access(ctx, ref)
