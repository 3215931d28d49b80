"""Flavors over HTTP, with their extra specs and the projects that may use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from pilvi.compute import policy
from pilvi.compute.api.paging import PageQuery, window
from pilvi.compute.dialect import DIALECT, links
from pilvi.compute.operations import flavors as operations
from pilvi.compute.tables.flavors import Flavor, FlavorAccess
from pilvi.kernel.context import Context
from pilvi.kernel.db.pages import Page
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Answer, Body, Given, Request, Resource, Version, View, since, wire
from pilvi.kernel.http.rendered import rendered
from pilvi.kernel.http.shape import render

flavors = Resource("/v2.1/flavors", tag="flavors")

INDEX = policy.everyone("flavors", "List and show flavors.")
CREATE = policy.admin("os-flavor-manage:create", "Create a flavor.")
UPDATE = policy.admin("os-flavor-manage:update", "Change a flavor's description.")
DELETE = policy.admin("os-flavor-manage:delete", "Delete a flavor.")
ACCESS = policy.admin("os-flavor-access", "See which projects may use a flavor.")
ADD_ACCESS = policy.admin("os-flavor-access:add_tenant_access", "Let a project use a flavor.")
REMOVE_ACCESS = policy.admin("os-flavor-access:remove_tenant_access", "Let a project use a flavor no more.")
SPECS = policy.reader("os-flavor-extra-specs:index", "List a flavor's extra specs.")
SPEC = policy.reader("os-flavor-extra-specs:show", "Show an extra spec.")
ADD_SPECS = policy.admin("os-flavor-extra-specs:create", "Add extra specs.")
CHANGE_SPEC = policy.admin("os-flavor-extra-specs:update", "Change an extra spec.")
REMOVE_SPEC = policy.admin("os-flavor-extra-specs:delete", "Delete an extra spec.")

TABLES = frozenset({Flavor.t.name, FlavorAccess.t.name})
Named = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\S")]
Whole = Annotated[int, msgspec.Meta(ge=0, le=0x7FFFFFFF)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1, le=0x7FFFFFFF)]
Description = Annotated[str, msgspec.Meta(max_length=65535)]


class CreateFlavor(Body):
    """A flavor as an operator asks for it."""

    name: Named
    ram: AtLeastOne
    vcpus: AtLeastOne
    disk: Whole
    id: Annotated[str, msgspec.Meta(max_length=255)] | int | None = None
    ephemeral: Whole = wire("OS-FLV-EXT-DATA:ephemeral", default=0)
    swap: Whole = 0
    rxtx_factor: Annotated[float, msgspec.Meta(gt=0, le=3.40282e38)] = 1.0
    is_public: bool = wire("os-flavor-access:is_public", default=True)
    description: Description | None = since("2.55", default=None)


class UpdateFlavor(Body):
    """What may be changed of a flavor."""

    description: Description | None


class FlavorView(View):
    """A flavor in full.  No swap was "" until 2.74."""

    id: str
    name: str
    ram: int
    disk: int
    vcpus: int
    swap: int | str
    ephemeral: int = wire("OS-FLV-EXT-DATA:ephemeral")
    disabled: bool = wire("OS-FLV-DISABLED:disabled")
    is_public: bool = wire("os-flavor-access:is_public")
    rxtx_factor: float
    links: list[dict[str, str]]
    description: str | None = since("2.55")
    extra_specs: dict[str, str] | Given = since("2.61", default=UNSET)


class FlavorBrief(View):
    """A flavor in a short list."""

    id: str
    name: str
    links: list[dict[str, str]]
    description: str | None = since("2.55")


class AccessView(View):
    """One project's right to use a flavor."""

    flavor_id: str
    tenant_id: str


class FlavorsQuery(PageQuery):
    """What a list of flavors may be narrowed by."""

    is_public: str | None = None
    min_disk: str | None = wire("minDisk", default=None)
    min_ram: str | None = wire("minRam", default=None)


def view(ctx: Context, flavor: Flavor) -> FlavorView:
    """A flavor as the caller may see it."""
    assert ctx.version is not None
    return FlavorView(
        id=flavor.flavorid, name=flavor.name, ram=flavor.ram, disk=flavor.disk, vcpus=flavor.vcpus,
        swap=flavor.swap or (0 if ctx.version >= Version(2, 75) else ""), ephemeral=flavor.ephemeral, disabled=flavor.disabled,
        is_public=flavor.is_public, rxtx_factor=flavor.rxtx_factor, links=links(ctx.base_url, "flavors", flavor.flavorid),
        description=flavor.description, extra_specs=flavor.extra_specs if ctx.allowed(SPECS.name) else UNSET,
    )  # fmt: skip


def _found(ctx: Context, query: FlavorsQuery) -> Page[Flavor]:
    public: bool | None = True
    if query.is_public is not None and ctx.is_admin:
        word = query.is_public.strip().lower()
        if word not in _TRUTH:
            raise Invalid(f"Invalid is_public filter [{query.is_public[:50]}]", field="is_public")
        public = _TRUTH[word]
    return operations.index(
        ctx, window=window(query, ctx.program.settings.compute.max_page), public=public,
        min_disk=_number(query.min_disk, "minDisk"), min_ram=_number(query.min_ram, "minRam"),
    )  # fmt: skip


_TRUTH: dict[str, bool | None] = {
    "none": None, "true": True, "t": True, "yes": True, "y": True, "1": True, "on": True,
    "false": False, "f": False, "no": False, "n": False, "0": False, "off": False,
}  # fmt: skip


def _number(text: str | None, field: str) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise Invalid(f"Invalid {field} filter [{text[:50]}]", field=field) from None


def brief(ctx: Context, flavor: Flavor) -> FlavorBrief:
    """A flavor in short."""
    at = links(ctx.base_url, "flavors", flavor.flavorid)
    return FlavorBrief(id=flavor.flavorid, name=flavor.name, links=at, description=flavor.description)


def _listed(ctx: Context, query: FlavorsQuery, request: Request, tell: Callable[[Context, Flavor], View]) -> Answer:
    """The list, from memory while no flavor has changed."""

    def now() -> bytes:
        assert ctx.version is not None
        found = _found(ctx, query)
        told = render([tell(ctx, one) for one in found], ctx.version)
        marker = found[-1].flavorid if found else None
        return msgspec.json.encode(DIALECT.list_body("flavors", told, more=found.more, marker=marker, request=request, at=""))

    return rendered(ctx.program, "compute.flavors", TABLES).answer(ctx, request, ctx.allowed(SPECS.name), render=now)


@flavors.get("", rule=INDEX, out="flavors")
def index(ctx: Context, query: FlavorsQuery, request: Request) -> Answer:
    """List the flavors that one may use."""
    return _listed(ctx, query, request, brief)


@flavors.get("/detail", rule=INDEX, out="flavors")
def detail(ctx: Context, query: FlavorsQuery, request: Request) -> Answer:
    """List flavors in full."""
    return _listed(ctx, query, request, view)


@flavors.get("/{flavor_id}", rule=INDEX, out="flavor")
def show(ctx: Context, flavor_id: str) -> FlavorView:
    """Show a flavor."""
    return view(ctx, operations.get(ctx, flavor_id))


@flavors.post("", rule=CREATE, out="flavor")
def create(ctx: Context, flavor: CreateFlavor) -> FlavorView:
    """Create a flavor."""
    made = operations.create(
        ctx, name=flavor.name.strip(), vcpus=flavor.vcpus, ram=flavor.ram, disk=flavor.disk,
        flavorid=None if flavor.id is None else str(flavor.id), ephemeral=flavor.ephemeral, swap=flavor.swap, rxtx_factor=flavor.rxtx_factor,
        is_public=flavor.is_public, description=flavor.description,
    )  # fmt: skip
    return view(ctx, made)


@flavors.put("/{flavor_id}", rule=UPDATE, out="flavor", since="2.55")
def update(ctx: Context, flavor_id: str, flavor: UpdateFlavor) -> FlavorView:
    """Change a flavor's description."""
    return view(ctx, operations.describe(ctx, flavor_id, flavor.description))


@flavors.delete("/{flavor_id}", rule=DELETE, answers=202)
def delete(ctx: Context, flavor_id: str) -> None:
    """Delete a flavor; servers that have it keep it."""
    operations.delete(ctx, flavor_id)


# -- extra specs -----------------------------------------------------------------------------------


@flavors.get("/{flavor_id}/os-extra_specs", rule=SPECS, out="extra_specs")
def specs(ctx: Context, flavor_id: str) -> dict[str, str]:
    """List a flavor's extra specs."""
    return operations.get(ctx, flavor_id).extra_specs


@flavors.post("/{flavor_id}/os-extra_specs", rule=ADD_SPECS, out="extra_specs")
def add_specs(ctx: Context, flavor_id: str, extra_specs: dict[str, str | int | float]) -> dict[str, str]:
    """Add or overwrite extra specs."""
    return _set_specs(ctx, flavor_id, extra_specs)


@flavors.get("/{flavor_id}/os-extra_specs/{key}", rule=SPEC)
def show_spec(ctx: Context, flavor_id: str, key: str) -> dict[str, str]:
    """Show one extra spec."""
    return {key: operations.spec(ctx, flavor_id, key)}


@flavors.put("/{flavor_id}/os-extra_specs/{key}", rule=CHANGE_SPEC)
def change_spec(ctx: Context, flavor_id: str, key: str, body: dict[str, str | int | float]) -> dict[str, str]:
    """Change one extra spec; the body names the same key as the path."""
    if list(body) != [key]:
        raise Invalid("Invalid input for field extra_specs: the body must hold exactly the key of the path.", field="extra_specs")
    return _set_specs(ctx, flavor_id, body)


def _set_specs(ctx: Context, flavor_id: str, specs: dict[str, str | int | float]) -> dict[str, str]:
    assert ctx.version is not None
    return operations.set_specs(ctx, flavor_id, {key: str(value) for key, value in specs.items()}, known=ctx.version >= Version(2, 86))


@flavors.delete("/{flavor_id}/os-extra_specs/{key}", rule=REMOVE_SPEC)
def remove_spec(ctx: Context, flavor_id: str, key: str) -> None:
    """Delete one extra spec."""
    operations.remove_spec(ctx, flavor_id, key)


# -- who may use a flavor ------------------------------------------------------------------------------


class AccessChange(Body):
    """The project that shall, or shall no more, use the flavor."""

    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


def _access(rows: list[FlavorAccess]) -> list[AccessView]:
    return [AccessView(flavor_id=row.flavorid, tenant_id=row.project_id) for row in rows]


@flavors.get("/{flavor_id}/os-flavor-access", rule=ACCESS, out="flavor_access")
def access(ctx: Context, flavor_id: str) -> Any:
    """List the projects that may use a flavor which is not public."""
    return _access(operations.access(ctx, flavor_id))


@flavors.action("addTenantAccess", of="flavor_id", rule=ADD_ACCESS, out="flavor_access")
def add_access(ctx: Context, flavor_id: str, change: AccessChange) -> Any:
    """Let a project use a flavor."""
    return _access(operations.add_access(ctx, flavor_id, change.tenant))


@flavors.action("removeTenantAccess", of="flavor_id", rule=REMOVE_ACCESS, out="flavor_access")
def remove_access(ctx: Context, flavor_id: str, change: AccessChange) -> Any:
    """Let a project use a flavor no more."""
    return _access(operations.remove_access(ctx, flavor_id, change.tenant))
