"""Role assignments: who holds what on what."""

from __future__ import annotations

from typing import Any

from pilvi.identity.api.lists import truth
from pilvi.identity.dialect import root
from pilvi.identity.operations.assignments import Held, Wanted, effective, written
from pilvi.identity.policy import ADMIN_OR_SYSTEM_READER, target
from pilvi.identity.tables import Group, Project, Role, User
from pilvi.kernel.context import Context
from pilvi.kernel.errors import Invalid
from pilvi.kernel.http import Listing, Query, Request, Resource, wire
from pilvi.kernel.policy import Rule

LIST = Rule(
    "identity:list_role_assignments", f"{ADMIN_OR_SYSTEM_READER} or (role:reader and domain_id:%(target.domain_id)s)", "List role assignments."
)
LIST_TREE = Rule(
    "identity:list_role_assignments_for_tree",
    f"{ADMIN_OR_SYSTEM_READER} or (role:reader and domain_id:%(target.project.domain_id)s) or "
    "(role:admin and project_id:%(target.project.id)s)",
    "List the role assignments on a project and those below it.",
)

assignments = Resource("/v3/role_assignments")


class AssignmentsQuery(Query, extra=True):
    """Which assignments, and how they are told."""

    user: str | None = wire("user.id", default=None)
    group: str | None = wire("group.id", default=None)
    role: str | None = wire("role.id", default=None)
    project: str | None = wire("scope.project.id", default=None)
    domain: str | None = wire("scope.domain.id", default=None)
    system: str | None = wire("scope.system", default=None)
    inherited_to: str | None = wire("scope.OS-INHERIT:inherited_to", default=None)
    effective: str | None = None
    include_names: str | None = None
    include_subtree: str | None = None


@assignments.get("", rule=LIST, out="role_assignments", precheck=False)
def index(ctx: Context, query: AssignmentsQuery, request: Request) -> Listing:
    """List role assignments."""
    in_effect, named, subtree = (_flag(text) for text in (query.effective, query.include_names, query.include_subtree))
    _refuse_contradictions(query, in_effect, subtree)
    project = ctx.db.get(Project, query.project) if query.project else None
    if subtree:
        ctx.allow(LIST_TREE.name, target(project=project))
    else:
        ctx.allow(ctx.rule, target(**{"target.domain_id": _domain_asked(ctx, query, project)}))
    wanted = Wanted(
        user_id=query.user, group_id=query.group, role_id=query.role, project_id=query.project, domain_id=query.domain,
        system=_flag(query.system), inherited=True if query.inherited_to else None, subtree=subtree,
    )  # fmt: skip
    found = effective(ctx.db, wanted) if in_effect else written(ctx.db, wanted)
    if ctx.caller.domain_id:
        found = _within(ctx, found, ctx.caller.domain_id)
    names = _Names(ctx, found) if named else None
    return Listing([_view(ctx, held, names) for held in found])


def _flag(text: str | None) -> bool:
    return text is not None and truth(text)


def _refuse_contradictions(query: AssignmentsQuery, in_effect: bool, subtree: bool) -> None:
    if query.user and query.group:
        raise Invalid("Ask for a user or for a group, not for both.", field="user.id")
    if sum(bool(one) for one in (query.project, query.domain, query.system)) > 1:
        raise Invalid("Ask for a project, a domain or the system, not for several.", field="scope.project.id")
    if in_effect and query.group:
        raise Invalid("In effect, roles are held by users: group.id cannot be asked for.", field="group.id")
    if in_effect and query.inherited_to and query.domain:
        raise Invalid("In effect, inherited roles hold on projects: a domain cannot be asked for.", field="scope.domain.id")
    if query.inherited_to not in (None, "projects"):
        raise Invalid("Roles are inherited to projects; nothing else can be asked for.", field="scope.OS-INHERIT:inherited_to")
    if subtree and not query.project:
        raise Invalid("include_subtree needs scope.project.id.", field="include_subtree")


def _domain_asked(ctx: Context, query: AssignmentsQuery, project: Project | None) -> str | None:
    if query.domain:
        return query.domain
    if project is not None:
        return project.domain_id or project.id
    return ctx.caller.domain_id or None


def _within(ctx: Context, found: list[Held], domain_id: str) -> list[Held]:
    """Those on the domain and its projects."""
    ids = [held.target_id for held in found if held.target_kind == "project"]
    inside = {row.id for row in ctx.db.by(Project, Project.c.id, ids) if row.domain_id == domain_id} | {domain_id}
    return [held for held in found if held.target_id in inside]


class _Names:
    """Names and domains of all that a list of assignments speaks of."""

    def __init__(self, ctx: Context, found: list[Held]) -> None:
        tx = ctx.db
        self.role = {row.id: row for row in tx.by(Role, Role.c.id, [held.role_id for held in found])}
        self.user = {row.id: row for row in tx.by(User, User.c.id, [held.actor_id for held in found if held.actor_kind == "user"])}
        self.group = {row.id: row for row in tx.by(Group, Group.c.id, [held.actor_id for held in found if held.actor_kind == "group"])}
        places = tx.by(Project, Project.c.id, [held.target_id for held in found])
        rows: list[Any] = [*self.role.values(), *self.user.values(), *self.group.values(), *places]
        self.project = {row.id: row for row in [*places, *tx.by(Project, Project.c.id, [row.domain_id for row in rows if row.domain_id])]}

    def tell(self, kind: str, id_: str) -> dict[str, Any]:
        row = getattr(self, "project" if kind == "domain" else kind).get(id_)
        told: dict[str, Any] = {"id": id_, "name": row.name if row is not None else ""}
        if row is not None and kind != "domain" and row.domain_id:
            domain = self.project.get(row.domain_id)
            told["domain"] = {"id": row.domain_id, "name": domain.name if domain is not None else ""}
        return told


def _view(ctx: Context, held: Held, names: _Names | None) -> dict[str, Any]:
    def told(kind: str, id_: str) -> dict[str, Any]:
        return names.tell(kind, id_) if names is not None else {"id": id_}

    scope: dict[str, Any] = {"system": {"all": True}} if held.target_kind == "system" else {held.target_kind: told(held.target_kind, held.target_id)}
    if held.inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    return {
        "role": told("role", held.role_id), held.actor_kind: told(held.actor_kind, held.actor_id), "scope": scope, "links": _links(ctx, held)
    }


def _links(ctx: Context, held: Held) -> dict[str, str]:
    at = f"{root(ctx.base_url)}/v3"
    source = held.source
    actor_kind, actor_id = (source.actor_kind, source.actor_id) if source else (held.actor_kind, held.actor_id)
    kind, where = (source.target_kind, source.target_id) if source else (held.target_kind, held.target_id)
    inherited = source.inherited if source else held.inherited
    role_id = held.prior_role_id or held.role_id
    place = "system" if kind == "system" else f"{kind}s/{where}"
    path = f"{place}/{actor_kind}s/{actor_id}/roles/{role_id}"
    links = {"assignment": f"{at}/OS-INHERIT/{path}/inherited_to_projects" if inherited else f"{at}/{path}"}
    if held.group_id:
        links["membership"] = f"{at}/groups/{held.group_id}/users/{held.actor_id}"
    if held.prior_role_id:
        links["prior_role"] = f"{at}/prior_role/{held.prior_role_id}/implies/{held.role_id}"
    return links
