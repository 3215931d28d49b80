"""Endpoint filters: which endpoints a project sees in its catalog, each or by groups; without any it sees all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilvi.identity.api.lists import Page, listed
from pilvi.identity.api.projects_view import project_view
from pilvi.identity.api.services import endpoint_view, need_endpoint
from pilvi.identity.dialect import root
from pilvi.identity.operations.catalog import endpoints_of, fitting
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, need
from pilvi.identity.tables import Project
from pilvi.identity.tables.catalog import Endpoint, EndpointGroup, ProjectEndpoint, ProjectEndpointGroup
from pilvi.kernel.context import Context
from pilvi.kernel.errors import NotFound
from pilvi.kernel.http import UNSET, Body, Given, Listing, Request, Resource
from pilvi.kernel.ids import new_hex
from pilvi.kernel.policy import Rule


def _rule(name: str, does: str, *, reads: bool = True) -> Rule:
    return Rule(f"identity:{name}", ADMIN_OR_SYSTEM_READER if reads else ADMIN, does)


LIST_PROJECTS = _rule("list_projects_for_endpoint", "List the projects that were given an endpoint.")
GIVE = _rule("add_endpoint_to_project", "Give a project an endpoint.", reads=False)
CHECK = _rule("check_endpoint_in_project", "Check whether a project was given an endpoint.")
LIST_ENDPOINTS = _rule("list_endpoints_for_project", "List the endpoints that a project was given.")
TAKE = _rule("remove_endpoint_from_project", "Take an endpoint from a project.", reads=False)
CREATE = _rule("create_endpoint_group", "Create an endpoint group.", reads=False)
LIST = _rule("list_endpoint_groups", "List endpoint groups.")
GET = _rule("get_endpoint_group", "Show an endpoint group.")
UPDATE = _rule("update_endpoint_group", "Update an endpoint group.", reads=False)
DELETE = _rule("delete_endpoint_group", "Delete an endpoint group.", reads=False)
GROUP_PROJECTS = _rule("list_projects_associated_with_endpoint_group", "List the projects that were given an endpoint group.")
GROUP_ENDPOINTS = _rule("list_endpoints_associated_with_endpoint_group", "List the endpoints of an endpoint group.")
GROUP_CHECK = _rule("get_endpoint_group_in_project", "Check whether a project was given an endpoint group.")
PROJECT_GROUPS = _rule("list_endpoint_groups_for_project", "List the endpoint groups that a project was given.")
GROUP_GIVE = _rule("add_endpoint_group_to_project", "Give a project an endpoint group.", reads=False)
GROUP_TAKE = _rule("remove_endpoint_group_from_project", "Take an endpoint group from a project.", reads=False)

filters = Resource("/v3/OS-EP-FILTER")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Filters(Body):
    """What an endpoint must be."""

    service_id: str | Given = UNSET
    region_id: str | Given = UNSET
    interface: Literal["public", "internal", "admin"] | Given = UNSET
    enabled: bool | Given = UNSET


class CreateGroup(Body):
    """A new endpoint group."""

    name: Name
    filters: Filters
    description: str | None = None


class UpdateGroup(Body):
    """What is to be changed of an endpoint group."""

    name: Name | Given = UNSET
    filters: Filters | Given = UNSET
    description: str | Given | None = UNSET


class GroupsQuery(Page, extra=True):
    """Which endpoint groups."""

    name: str | None = None


def group_view(ctx: Context, row: EndpointGroup) -> dict[str, Any]:
    """An endpoint group."""
    link = f"{root(ctx.base_url)}/v3/OS-EP-FILTER/endpoint_groups/{row.id}"
    return {"id": row.id, "name": row.name, "description": row.description, "filters": row.filters, "links": {"self": link}}


# -- endpoints of projects -------------------------------------------------------------------------


@filters.put("/projects/{project_id}/endpoints/{endpoint_id}", rule=GIVE, answers=204)
def give(ctx: Context, project_id: str, endpoint_id: str) -> None:
    """Give a project an endpoint."""
    _project(ctx, project_id)
    need(ctx.db.get_to_build_on(Endpoint, endpoint_id), "Endpoint", endpoint_id)
    ctx.db.put(ProjectEndpoint(project_id=project_id, endpoint_id=endpoint_id))


@filters.get("/projects/{project_id}/endpoints/{endpoint_id}", rule=CHECK, answers=204)
def check(ctx: Context, project_id: str, endpoint_id: str) -> None:
    """Check whether a project was given an endpoint."""
    _given(ctx, project_id, endpoint_id)


@filters.delete("/projects/{project_id}/endpoints/{endpoint_id}", rule=TAKE, answers=204)
def take(ctx: Context, project_id: str, endpoint_id: str) -> None:
    """Take an endpoint from a project."""
    ctx.db.remove(_given(ctx, project_id, endpoint_id))


@filters.get("/projects/{project_id}/endpoints", rule=LIST_ENDPOINTS, out="endpoints")
def list_endpoints(ctx: Context, project_id: str) -> Listing:
    """List the endpoints that a project was given, each or by groups."""
    _project(ctx, project_id)
    return Listing([endpoint_view(ctx, row) for row in endpoints_of(ctx.db, project_id).values()])


@filters.get("/endpoints/{endpoint_id}/projects", rule=LIST_PROJECTS, out="projects")
def list_projects(ctx: Context, endpoint_id: str) -> Listing:
    """List the projects that were given an endpoint."""
    need_endpoint(ctx, endpoint_id)
    return _projects(ctx, [row.project_id for row in ctx.db.all(ProjectEndpoint, ProjectEndpoint.c.endpoint_id == endpoint_id)])


# -- groups ----------------------------------------------------------------------------------------


@filters.post("/endpoint_groups", rule=CREATE, answers=201, out="endpoint_group")
def create(ctx: Context, endpoint_group: CreateGroup) -> dict[str, Any]:
    """Create an endpoint group."""
    wanted = msgspec.to_builtins(endpoint_group.filters)
    row = EndpointGroup(id=new_hex(), name=endpoint_group.name, description=endpoint_group.description, filters=wanted)
    return group_view(ctx, ctx.db.insert(row))


@filters.get("/endpoint_groups", rule=LIST, out="endpoint_groups")
def index(ctx: Context, query: GroupsQuery, request: Request) -> Listing:
    """List endpoint groups."""
    return listed(ctx, request, query, EndpointGroup, view=group_view)


@filters.get("/endpoint_groups/{group_id}", rule=GET, out="endpoint_group")
def show(ctx: Context, group_id: str) -> dict[str, Any]:
    """Show an endpoint group."""
    return group_view(ctx, _group(ctx, group_id))


@filters.patch("/endpoint_groups/{group_id}", rule=UPDATE, out="endpoint_group")
def update(ctx: Context, group_id: str, endpoint_group: UpdateGroup) -> dict[str, Any]:
    """Change an endpoint group."""
    row = _group(ctx, group_id)
    changes = {name: getattr(endpoint_group, name) for name in ("name", "description") if getattr(endpoint_group, name) is not UNSET}
    if endpoint_group.filters is not UNSET:
        changes["filters"] = msgspec.to_builtins(endpoint_group.filters)
    return group_view(ctx, ctx.db.change(row, **changes) if changes else row)


@filters.delete("/endpoint_groups/{group_id}", rule=DELETE, answers=204)
def delete(ctx: Context, group_id: str) -> None:
    """Delete an endpoint group."""
    row = need(ctx.db.get_to_change(EndpointGroup, group_id), "Endpoint group", group_id)
    ctx.db.delete(ProjectEndpointGroup, ProjectEndpointGroup.c.endpoint_group_id == group_id)
    ctx.db.remove(row)


@filters.get("/endpoint_groups/{group_id}/endpoints", rule=GROUP_ENDPOINTS, out="endpoints")
def group_endpoints(ctx: Context, group_id: str) -> Listing:
    """List the endpoints of a group."""
    return Listing([endpoint_view(ctx, row) for row in fitting(ctx.db, _group(ctx, group_id))])


@filters.get("/endpoint_groups/{group_id}/projects", rule=GROUP_PROJECTS, out="projects")
def group_projects(ctx: Context, group_id: str) -> Listing:
    """List the projects that were given a group."""
    _group(ctx, group_id)
    rows = ctx.db.all(ProjectEndpointGroup, ProjectEndpointGroup.c.endpoint_group_id == group_id)
    return _projects(ctx, [row.project_id for row in rows])


@filters.put("/endpoint_groups/{group_id}/projects/{project_id}", rule=GROUP_GIVE, answers=204)
def give_group(ctx: Context, group_id: str, project_id: str) -> None:
    """Give a project a group of endpoints."""
    need(ctx.db.get_to_build_on(EndpointGroup, group_id), "Endpoint group", group_id)
    _project(ctx, project_id)
    ctx.db.put(ProjectEndpointGroup(project_id=project_id, endpoint_group_id=group_id))


@filters.get("/endpoint_groups/{group_id}/projects/{project_id}", rule=GROUP_CHECK, out="endpoint_group")
def check_group(ctx: Context, group_id: str, project_id: str) -> dict[str, Any]:
    """Show a group that a project was given."""
    _given_group(ctx, project_id, group_id)
    return group_view(ctx, _group(ctx, group_id))


@filters.delete("/endpoint_groups/{group_id}/projects/{project_id}", rule=GROUP_TAKE, answers=204)
def take_group(ctx: Context, group_id: str, project_id: str) -> None:
    """Take a group of endpoints from a project."""
    ctx.db.remove(_given_group(ctx, project_id, group_id))


@filters.get("/projects/{project_id}/endpoint_groups", rule=PROJECT_GROUPS, out="endpoint_groups")
def project_groups(ctx: Context, project_id: str) -> Listing:
    """List the groups that a project was given."""
    _project(ctx, project_id)
    ids = [row.endpoint_group_id for row in ctx.db.all(ProjectEndpointGroup, ProjectEndpointGroup.c.project_id == project_id)]
    return Listing([group_view(ctx, row) for row in ctx.db.by(EndpointGroup, EndpointGroup.c.id, ids)])


def _project(ctx: Context, project_id: str) -> None:
    need(ctx.db.get_to_build_on(Project, project_id), "Project", project_id)


def _projects(ctx: Context, ids: list[str]) -> Listing:
    return Listing([project_view(ctx, row) for row in ctx.db.by(Project, Project.c.id, ids)])


def _group(ctx: Context, group_id: str) -> EndpointGroup:
    return need(ctx.db.get(EndpointGroup, group_id), "Endpoint group", group_id)


def _given(ctx: Context, project_id: str, endpoint_id: str) -> ProjectEndpoint:
    row = ctx.db.get(ProjectEndpoint, project_id, endpoint_id)
    if row is None:
        raise NotFound(f"Project {project_id} was not given endpoint {endpoint_id}.")
    return row


def _given_group(ctx: Context, project_id: str, group_id: str) -> ProjectEndpointGroup:
    row = ctx.db.get(ProjectEndpointGroup, project_id, group_id)
    if row is None:
        raise NotFound(f"Project {project_id} was not given endpoint group {group_id}.")
    return row
