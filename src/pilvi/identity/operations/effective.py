"""Effective roles: those given to a user or their groups, inherited from above, and implied by others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pilvi.identity.logic.payload import DOMAIN, PROJECT, SYSTEM
from pilvi.identity.tables import Assignment, GroupMember, Project, Role, RoleImplication
from pilvi.kernel.db import Transaction

if TYPE_CHECKING:
    from pilvi.identity.memory import Recall

EVERYTHING = "all"  # the target id of the system

_groups_of = sa.select(GroupMember.c.group_id).where(GroupMember.c.user_id == sa.bindparam("user_id"))
_held = sa.select(
    Assignment.c.role_id, Assignment.c.target_kind, Assignment.c.target_id, Assignment.c.inherited
).where(
    Assignment.c.actor_id.in_(sa.bindparam("actors", expanding=True)), Assignment.c.target_id.in_(sa.bindparam("targets", expanding=True))
)  # fmt: skip


class RoleGraph:
    """All roles, and which imply which."""

    def __init__(self, roles: list[Role], implications: list[RoleImplication]) -> None:
        self.roles = {role.id: role for role in roles}
        self.direct: dict[str, set[str]] = {}
        for one in implications:
            self.direct.setdefault(one.prior_id, set()).add(one.implied_id)
        self._closed: dict[str, frozenset[str]] = {}

    def implied(self, role_id: str) -> frozenset[str]:
        """The role and all that it implies, directly or not."""
        found = self._closed.get(role_id)
        if found is None:
            reached, waiting = {role_id}, [role_id]
            while waiting:
                for further in self.direct.get(waiting.pop(), ()):
                    if further not in reached:
                        reached.add(further)
                        waiting.append(further)
            found = self._closed[role_id] = frozenset(reached)
        return found

    def expand(self, role_ids: Iterable[str]) -> list[Role]:
        """The roles as they stand in a token: with the implied ones, without those of a domain; by name."""
        reached = {one for role_id in role_ids for one in self.implied(role_id)}
        roles = [self.roles[one] for one in reached if one in self.roles and not self.roles[one].domain_id]
        return sorted(roles, key=lambda role: role.name)


def role_graph(tx: Transaction, recall: Recall | None = None) -> RoleGraph:
    """All roles; from memory if there is one."""
    if recall is not None and recall.roles is not None:
        return recall.roles
    graph = RoleGraph(tx.all(Role), tx.all(RoleImplication))
    if recall is not None:
        recall.roles = graph
    return graph


def group_ids(tx: Transaction, user_id: str) -> list[str]:
    """The groups that the user is in."""
    return [row[0] for row in tx.execute(_groups_of, {"user_id": user_id})]


def ancestors(tx: Transaction, project: Project) -> list[Project]:
    """The projects above, the nearest first; the domain is not among them."""
    found: list[Project] = []
    while project.parent_id and project.parent_id != project.domain_id:
        parent = tx.get(Project, project.parent_id)
        if parent is None:
            break
        found.append(parent)
        project = parent
    return found


def held_on_project(tx: Transaction, user_id: str, project: Project) -> set[str]:
    """Ids of the roles that the user holds on a project, before implication."""
    above = [one.id for one in ancestors(tx, project)]
    direct, domain, inherited = (PROJECT, project.id, False), (DOMAIN, project.domain_id, True), {(PROJECT, one, True) for one in above}
    actors = [user_id, *group_ids(tx, user_id)]
    targets = [project.id, *above, *([project.domain_id] if project.domain_id else [])]
    wanted = {direct, domain, *inherited}
    rows = tx.execute(_held, {"actors": actors, "targets": targets})
    return {row.role_id for row in rows if (row.target_kind, row.target_id, bool(row.inherited)) in wanted}


def held_on(tx: Transaction, user_id: str, kind: str, target_id: str) -> set[str]:
    """Ids of the roles that the user holds on a domain or the system, before implication."""
    target_id = EVERYTHING if kind == SYSTEM else target_id
    actors = [user_id, *group_ids(tx, user_id)]
    rows = tx.execute(_held, {"actors": actors, "targets": [target_id]})
    return {row.role_id for row in rows if row.target_kind == kind and not row.inherited}


def scopes_of(tx: Transaction, user_id: str) -> tuple[list[Project], list[Project], bool]:
    """Where the user holds any role: enabled projects, enabled domains, and whether the system."""
    actors = [user_id, *group_ids(tx, user_id)]
    rows = tx.by(Assignment, Assignment.c.actor_id, actors)
    project_ids = {row.target_id for row in rows if row.target_kind == PROJECT and not row.inherited}
    domain_ids = {row.target_id for row in rows if row.target_kind == DOMAIN and not row.inherited}
    found = {one.id: one for one in tx.by(Project, Project.c.id, project_ids)}
    for row in rows:
        if row.inherited and row.target_kind == DOMAIN:
            found |= {one.id: one for one in tx.all(Project, Project.c.domain_id == row.target_id)}
        elif row.inherited:
            found |= {one.id: one for one in below(tx, row.target_id)}
    domains = {one.id: one for one in tx.by(Project, Project.c.id, domain_ids | {one.domain_id for one in found.values() if one.domain_id})}
    projects = [one for one in found.values() if one.enabled and (not one.domain_id or domains[one.domain_id].enabled)]
    system = any(row.target_kind == SYSTEM for row in rows)
    return (
        sorted(projects, key=lambda one: one.name),
        sorted((one for one in domains.values() if one.id in domain_ids and one.enabled), key=lambda one: one.name),
        system,
    )


def below(tx: Transaction, project_id: str) -> list[Project]:
    """All projects below, level by level."""
    found: list[Project] = []
    level = [project_id]
    while level:
        children = tx.by(Project, Project.c.parent_id, level)
        found += children
        level = [one.id for one in children]
    return found
