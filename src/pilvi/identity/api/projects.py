"""Projects."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from pilvi.identity import options
from pilvi.identity.api.lists import Page, given, kept, listed, truth
from pilvi.identity.api.projects_view import project_view
from pilvi.identity.api.users import own_domain
from pilvi.identity.memory import of
from pilvi.identity.operations import projects as operations
from pilvi.identity.operations.effective import ancestors, below, scopes_of
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, see, target
from pilvi.identity.tables import Project
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Forbidden, Invalid
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule

_MANAGER = f"{ADMIN} or (role:manager and domain_id:%(target.project.domain_id)s)"
GET = Rule(
    "identity:get_project",
    f"{ADMIN_OR_SYSTEM_READER} or (role:reader and domain_id:%(target.project.domain_id)s) or project_id:%(target.project.id)s",
    "Show a project.",
)
LIST = Rule("identity:list_projects", f"{ADMIN_OR_SYSTEM_READER} or (role:reader and domain_id:%(target.domain_id)s)", "List projects.")
CREATE = Rule("identity:create_project", _MANAGER, "Create a project.")
UPDATE = Rule("identity:update_project", _MANAGER, "Update a project.")
DELETE = Rule("identity:delete_project", _MANAGER, "Delete a project.")

projects = Resource("/v3/projects")

ProjectName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"\S")]
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^,/]*$")]
Tags = Annotated[list[Tag], msgspec.Meta(max_length=80)]


class CreateProject(Body, extra=True):
    """A new project.  Other attributes are kept."""

    name: ProjectName
    domain_id: str | None = None
    parent_id: str | None = None
    description: str | None = None
    enabled: bool = True
    is_domain: bool = False
    tags: Tags = []
    options: dict[str, Any] = {}


class UpdateProject(Body, extra=True):
    """What is to be changed of a project."""

    name: ProjectName | Given = UNSET
    domain_id: str | Given | None = UNSET
    parent_id: str | Given | None = UNSET
    description: str | Given | None = UNSET
    enabled: bool | Given = UNSET
    is_domain: bool | Given = UNSET
    tags: Tags | Given = UNSET
    options: dict[str, Any] | Given = UNSET


class ProjectsQuery(Page, extra=True):
    """Which projects."""

    name: str | None = None
    domain_id: str | None = None
    parent_id: str | None = None
    enabled: str | None = None
    is_domain: str | None = None


@projects.post("", rule=CREATE, answers=201, out="project", precheck=False)
def create(ctx: Context, project: CreateProject, request: Request) -> dict[str, Any]:
    """Create a project below another, or below its domain; with is_domain, a domain."""
    domain_id = _domain_of(ctx, project)
    parent_id = "" if project.is_domain else project.parent_id or domain_id
    ctx.allow(ctx.rule, {"target.project.domain_id": domain_id, "target.project.parent_id": parent_id} if domain_id else {})
    _refuse_twice(project.tags)
    row = Project(
        id=new_hex(), domain_id=domain_id, parent_id=parent_id, name=project.name, description=project.description or "",
        enabled=project.enabled, is_domain=project.is_domain, tags=project.tags, options=options.merged({}, project.options, options.PLACE),
        extra=kept(request, "project", CreateProject),
    )  # fmt: skip
    return project_view(ctx, operations.add(ctx.db, row, of(ctx.program).settings.max_project_depth))


@projects.get("", rule=LIST, out="projects", precheck=False)
def index(ctx: Context, query: ProjectsQuery, request: Request) -> Listing:
    """List projects; domains only when is_domain asks for them."""
    ctx.allow(ctx.rule, target(**{"target.domain_id": query.domain_id or ctx.caller.domain_id or None}))
    where = [Project.c.domain_id == ctx.caller.domain_id] if ctx.caller.domain_id else []
    if query.is_domain is None:
        where.append(Project.c.is_domain.is_(False))
    where += _tagged(request)
    return listed(ctx, request, query, Project, *where, view=project_view)


@projects.get("/{project_id}", rule=GET, out="project", precheck=False)
def show(ctx: Context, project_id: str, request: Request) -> dict[str, Any]:
    """Show a project, if asked for with those above and below."""
    row = see(ctx, ctx.db.get(Project, project_id), "Project", project_id)
    view = project_view(ctx, row)
    asked = {name for name, value in request.query if truth(value)}
    if {"parents_as_list", "parents_as_ids"} <= asked or {"subtree_as_list", "subtree_as_ids"} <= asked:
        raise Invalid("Ask for a list or for ids, not for both.", field="parents_as_list")
    if asked & {"parents_as_list", "parents_as_ids"}:
        above = [*ancestors(ctx.db, row)]
        domain = ctx.db.get(Project, row.domain_id) if row.domain_id else None
        above += [domain] if domain is not None else []
        view["parents"] = _visible(ctx, above) if "parents_as_list" in asked else _chain(above)
    if asked & {"subtree_as_list", "subtree_as_ids"}:
        under = below(ctx.db, project_id)
        view["subtree"] = _visible(ctx, under) if "subtree_as_list" in asked else _tree(project_id, under)
    return view


@projects.patch("/{project_id}", rule=UPDATE, out="project", precheck=False)
def update(ctx: Context, project_id: str, project: UpdateProject, request: Request) -> dict[str, Any]:
    """Change a project."""
    row = see(ctx, operations.to_alter(ctx.db, project_id, enable=project.enabled is True), "Project", project_id)
    options.may_change("project", row.options, given(request, "project"))
    if project.domain_id not in (UNSET, row.domain_id or None):
        raise Invalid("A project's domain cannot be changed.", field="domain_id")
    if project.is_domain not in (UNSET, row.is_domain):
        raise Invalid("A project cannot become a domain, nor a domain a project.", field="is_domain")
    if project.parent_id not in (UNSET, row.parent_id or None):
        raise Forbidden("A project's parent cannot be changed.")
    return project_view(ctx, operations.alter(ctx.db, row, changes_of(row, project, kept(request, "project", UpdateProject))))


@projects.delete("/{project_id}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, project_id: str) -> None:
    """Delete a project."""
    row = see(ctx, ctx.db.get_to_change(Project, project_id), "Project", project_id)
    options.may_delete("project", row.options)
    if row.is_domain:
        operations.remove_domain(ctx, row)
    else:
        operations.remove_project(ctx, row)


def changes_of(row: Project, wanted: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """The columns of a project or domain that a body changes."""
    changes = {name: getattr(wanted, name) for name in ("name", "description", "enabled", "tags") if getattr(wanted, name) is not UNSET}
    if "description" in changes:
        changes["description"] = changes["description"] or ""
    _refuse_twice(changes.get("tags", []))
    if wanted.options is not UNSET:
        changes["options"] = options.merged(row.options, wanted.options, options.PLACE)
    if extra:
        changes["extra"] = row.extra | extra
    return changes


def _domain_of(ctx: Context, project: CreateProject) -> str:
    """The domain of a project to be: as named, or its parent's, or the caller's."""
    if project.is_domain:
        if project.domain_id is not None or project.parent_id is not None:
            raise Invalid("A domain has neither a domain nor a parent.", field="domain_id")
        return ""
    if project.domain_id is not None:
        return project.domain_id
    if project.parent_id is not None:
        parent = ctx.db.get(Project, project.parent_id)
        if parent is not None:
            return parent.domain_id or parent.id
    return own_domain(ctx)


def _refuse_twice(tags: list[str]) -> None:
    if len(set(tags)) < len(tags):
        raise Invalid("A tag may be given only once.", field="tags")


def _tagged(request: Request) -> list[Any]:
    """The conditions of tags, tags-any, not-tags and not-tags-any."""
    where: list[Any] = []
    text = sa.type_coerce(Project.c.tags, sa.Text)
    for key, value in request.query:
        if key not in ("tags", "tags-any", "not-tags", "not-tags-any"):
            continue
        # a tag stands in the JSON of the list in quotes, and no other text can contain those
        has = [sa.func.replace(text, msgspec.json.encode(tag).decode(), "") != text for tag in value.split(",")]
        found = sa.or_(*has) if key.endswith("-any") else sa.and_(*has)
        where.append(sa.not_(found) if key.startswith("not-") else found)
    return where


def _visible(ctx: Context, rows: list[Project]) -> list[dict[str, Any]]:
    """Those of the projects that the caller may know of."""
    if not ctx.allowed(LIST.name, target(**{"target.domain_id": rows[0].domain_id or rows[0].id}) if rows else {}):
        own = {one.id for one in scopes_of(ctx.db, ctx.user_id)[0]}
        rows = [row for row in rows if row.id in own]
    return [{"project": project_view(ctx, row)} for row in rows]


def _chain(above: list[Project]) -> dict[str, Any] | None:
    """{parent: {grandparent: None}}"""
    chain: dict[str, Any] | None = None
    for row in reversed(above):
        chain = {row.id: chain}
    return chain


def _tree(project_id: str, under: list[Project]) -> dict[str, Any] | None:
    """{child: {grandchild: None}, ...}"""
    children: dict[str, list[str]] = {}
    for row in under:
        children.setdefault(row.parent_id, []).append(row.id)

    def grow(parent: str) -> dict[str, Any] | None:
        return {child: grow(child) for child in children[parent]} if parent in children else None

    return grow(project_id)
