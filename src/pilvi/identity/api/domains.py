"""Domains."""

from __future__ import annotations

from typing import Any

from pilvi.identity import options
from pilvi.identity.api.lists import Page, given, kept, listed
from pilvi.identity.api.projects import ProjectName, Tags, changes_of
from pilvi.identity.api.projects_view import domain_view
from pilvi.identity.memory import of
from pilvi.identity.operations import projects as operations
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, see
from pilvi.identity.tables import Project
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import is_uuid, new_hex
from pilvi.kernel.policy import Rule

GET = Rule(
    "identity:get_domain", f"{ADMIN_OR_SYSTEM_READER} or domain_id:%(target.domain.id)s or project_domain_id:%(target.domain.id)s", "Show a domain."
)
LIST = Rule("identity:list_domains", f"{ADMIN_OR_SYSTEM_READER} or (role:manager and not domain_id:None)", "List domains.")
CREATE = Rule("identity:create_domain", ADMIN, "Create a domain.")
UPDATE = Rule("identity:update_domain", ADMIN, "Update a domain.")
DELETE = Rule("identity:delete_domain", ADMIN, "Delete a domain.")

domains = Resource("/v3/domains")


class CreateDomain(Body, extra=True):
    """A new domain.  Other attributes are kept."""

    name: ProjectName
    explicit_domain_id: str | None = None
    description: str | None = None
    enabled: bool = True
    tags: Tags = []
    options: dict[str, Any] = {}


class UpdateDomain(Body, extra=True):
    """What is to be changed of a domain."""

    name: ProjectName | Given = UNSET
    description: str | Given | None = UNSET
    enabled: bool | Given = UNSET
    tags: Tags | Given = UNSET
    options: dict[str, Any] | Given = UNSET


class DomainsQuery(Page, extra=True):
    """Which domains."""

    name: str | None = None
    enabled: str | None = None


@domains.post("", rule=CREATE, answers=201, out="domain")
def create(ctx: Context, domain: CreateDomain, request: Request) -> dict[str, Any]:
    """Create a domain."""
    if domain.explicit_domain_id is not None and not is_uuid(domain.explicit_domain_id):
        raise Invalid("explicit_domain_id must be a uuid.", field="explicit_domain_id")
    row = Project(
        id=(domain.explicit_domain_id or new_hex()).replace("-", ""), name=domain.name, description=domain.description or "",
        enabled=domain.enabled, is_domain=True, tags=domain.tags, options=options.merged({}, domain.options, options.PLACE),
        extra=kept(request, "domain", CreateDomain),
    )  # fmt: skip
    return domain_view(ctx, operations.add(ctx.db, row, of(ctx.program).settings.max_project_depth))


@domains.get("", rule=LIST, out="domains")
def index(ctx: Context, query: DomainsQuery, request: Request) -> Listing:
    """List domains; with a token for one of them, that one."""
    where = [Project.c.id == ctx.caller.domain_id] if ctx.caller.domain_id else []
    return listed(ctx, request, query, Project, Project.c.is_domain.is_(True), *where, view=domain_view)


@domains.get("/{domain_id}", rule=GET, out="domain", precheck=False)
def show(ctx: Context, domain_id: str) -> dict[str, Any]:
    """Show a domain."""
    return domain_view(ctx, _domain(ctx, domain_id))


@domains.patch("/{domain_id}", rule=UPDATE, out="domain", precheck=False)
def update(ctx: Context, domain_id: str, domain: UpdateDomain, request: Request) -> dict[str, Any]:
    """Change a domain; disabled, none of its users can authenticate."""
    row = _domain(ctx, domain_id)
    options.may_change("domain", row.options, given(request, "domain"))
    return domain_view(ctx, operations.alter(ctx.db, row, changes_of(row, domain, kept(request, "domain", UpdateDomain))))


@domains.delete("/{domain_id}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, domain_id: str) -> None:
    """Delete a disabled domain and all that is in it."""
    row = _domain(ctx, domain_id)
    options.may_delete("domain", row.options)
    operations.remove_domain(ctx, row)


def _domain(ctx: Context, domain_id: str) -> Project:
    row = ctx.db.get_to_change(Project, domain_id)
    return see(ctx, row if row is not None and row.is_domain else None, "Domain", domain_id, domain=row)
