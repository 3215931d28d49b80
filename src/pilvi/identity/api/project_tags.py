"""Tags of projects."""

from __future__ import annotations

import msgspec

from pilvi.identity.api.projects import Tags
from pilvi.identity.dialect import root
from pilvi.identity.policy import ADMIN, ADMIN_OR_SYSTEM_READER, see
from pilvi.identity.tables import Project
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid, NotFound
from pilvi.kernel.http import Answer, Body, Listing, Resource
from pilvi.kernel.policy import Rule

_READER = f"{ADMIN_OR_SYSTEM_READER} or (role:reader and domain_id:%(target.project.domain_id)s) or project_id:%(target.project.id)s"
_MANAGER = f"{ADMIN} or (role:manager and domain_id:%(target.project.domain_id)s)"
LIST = Rule("identity:list_project_tags", _READER, "List the tags of a project.")
GET = Rule("identity:get_project_tag", _READER, "Check a tag of a project.")
REPLACE = Rule("identity:update_project_tags", _MANAGER, "Replace all tags of a project.")
CREATE = Rule("identity:create_project_tag", _MANAGER, "Add a tag to a project.")
CLEAR = Rule("identity:delete_project_tags", _MANAGER, "Take all tags from a project.")
DELETE = Rule("identity:delete_project_tag", _MANAGER, "Take a tag from a project.")

tags = Resource("/v3/projects/{project_id}/tags")


class ReplaceTags(Body, extra=True):
    """All tags of a project."""

    tags: Tags


@tags.get("", rule=LIST, out="tags", precheck=False)
def index(ctx: Context, project_id: str) -> Listing:
    """List the tags of a project."""
    return Listing(list(_project(ctx, project_id).tags))


@tags.put("", rule=REPLACE, out="tags", precheck=False)
def replace(ctx: Context, project_id: str, body: ReplaceTags) -> Listing:
    """Replace all tags of a project."""
    project = _project(ctx, project_id)
    if len(set(body.tags)) < len(body.tags):
        raise Invalid("A tag may be given only once.", field="tags")
    ctx.db.change(project, tags=body.tags)
    return Listing(body.tags)


@tags.delete("", rule=CLEAR, answers=204, precheck=False)
def clear(ctx: Context, project_id: str) -> None:
    """Take all tags from a project."""
    ctx.db.change(_project(ctx, project_id), tags=[])


@tags.get("/{value}", rule=GET, answers=204, precheck=False)
def check(ctx: Context, project_id: str, value: str) -> None:
    """Check whether a project has a tag."""
    _need(_project(ctx, project_id), value)


@tags.put("/{value}", rule=CREATE, answers=201, precheck=False)
def add(ctx: Context, project_id: str, value: str) -> Answer:
    """Add a tag to a project."""
    project = _project(ctx, project_id)
    try:
        wanted = msgspec.convert([*project.tags, value] if value not in project.tags else project.tags, Tags)
    except msgspec.ValidationError:
        raise Invalid("A tag has 1 to 255 letters, no comma and no slash, and a project has at most 80.", field="tags") from None
    ctx.db.change(project, tags=wanted)
    return Answer(201, None, {"Location": f"{root(ctx.base_url)}/v3/projects/{project_id}/tags/{value}"} if value.isascii() else {})


@tags.delete("/{value}", rule=DELETE, answers=204, precheck=False)
def delete(ctx: Context, project_id: str, value: str) -> None:
    """Take a tag from a project."""
    project = _project(ctx, project_id)
    _need(project, value)
    ctx.db.change(project, tags=[tag for tag in project.tags if tag != value])


def _project(ctx: Context, project_id: str) -> Project:
    return see(ctx, ctx.db.get_to_change(Project, project_id), "Project", project_id)


def _need(project: Project, value: str) -> None:
    if value not in project.tags:
        raise NotFound(f"Project {project.id} has no tag {value}.")
