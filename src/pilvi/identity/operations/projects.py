"""Projects and domains: their tree, and what goes with them when they go."""

from __future__ import annotations

from typing import Any

from pilvi.identity.events import DomainDeleted, ProjectDeleted
from pilvi.identity.operations import users as user_operations
from pilvi.identity.operations.effective import ancestors, below
from pilvi.identity.operations.revocations import revoke
from pilvi.identity.policy import need
from pilvi.identity.tables import Assignment, Group, GroupMember, Limit, Project, Role, RoleImplication, Trust, User
from pilvi.identity.tables.catalog import ProjectEndpoint, ProjectEndpointGroup
from pilvi.identity.tables.credentials import ApplicationCredential, Credential
from pilvi.identity.tables.kept import DomainConfig
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, Forbidden, Invalid


def add(tx: Transaction, project: Project, most: int) -> Project:
    """Remember a new project below its parent, or a new domain.  `most`: levels of projects that a domain may have."""
    refuse_same_name(tx, project)
    if not project.is_domain:
        parent = need(tx.get_to_build_on(Project, project.parent_id), "Project", project.parent_id)
        if project.domain_id != (parent.domain_id or parent.id):
            raise Invalid("A project must be in the domain of its parent.", field="domain_id")
        if not parent.enabled:
            raise Forbidden(f"The parent {parent.id} is disabled; enable it first.")
        if parent.domain_id and len(ancestors(tx, parent)) + 2 > most:
            raise Forbidden(f"There may be no more than {most} levels of projects.")
    return tx.insert(project)


def to_alter(tx: Transaction, project_id: str, *, enable: bool) -> Project | None:
    """The project or domain of that id, to be changed; is it to be enabled, none of those above it is disabled until then."""
    seen = tx.get(Project, project_id) if enable and not tx.database.embedded else None
    for one in reversed(ancestors(tx, seen)) if seen is not None else ():
        tx.hold(Project, one.id)
    return tx.get_to_change(Project, project_id)


def alter(tx: Transaction, project: Project, changes: dict[str, Any]) -> Project:
    """Change a project or domain; disabled, all tokens for it are void."""
    if changes.get("name", project.name) != project.name:
        refuse_same_name(tx, Project(id=project.id, domain_id=project.domain_id, is_domain=project.is_domain, name=changes["name"]))
    enabled = changes.get("enabled", project.enabled)
    if enabled and not project.enabled and not all(one.enabled for one in ancestors(tx, project)):
        raise Forbidden("The project cannot be enabled as long as one above it is disabled.")
    if project.enabled and not enabled:
        if not project.is_domain and any(one.enabled for one in below(tx, project.id)):
            raise Forbidden("The project cannot be disabled as long as projects below it are enabled.")
        _revoke_all(tx, project)
    return tx.change(project, **changes) if changes else project


def remove_project(ctx: Context, project: Project) -> None:
    """Delete a project, which is locked, if it has none below it."""
    if ctx.db.one(Project, Project.c.parent_id == project.id) is not None:
        raise Forbidden("The project cannot be deleted as long as there are projects below it.")
    _forget(ctx, project)


def remove_domain(ctx: Context, domain: Project) -> None:
    """Delete a disabled domain, which is locked, with its users, groups, roles and projects.

    What is in it is locked in this order everywhere: projects from the top down, users, groups, roles.
    """
    if domain.enabled:
        raise Forbidden("The domain cannot be deleted as long as it is enabled; disable it first.")
    tx = ctx.db
    projects = _lock_below(tx, domain)
    users = tx.lock_all(User, User.c.domain_id == domain.id)
    groups = tx.lock_all(Group, Group.c.domain_id == domain.id)
    roles = tx.lock_all(Role, Role.c.domain_id == domain.id)
    for project in reversed(projects):
        _forget(ctx, project)
    for user in users:
        user_operations.remove(ctx, user)
    for group in groups:
        tx.delete(GroupMember, GroupMember.c.group_id == group.id)
        tx.delete(Assignment, Assignment.c.actor_id == group.id)
        tx.remove(group)
    for role in roles:
        forget_role(tx, role)
    tx.delete(DomainConfig, DomainConfig.c.domain_id == domain.id)
    _forget(ctx, domain)
    ctx.publish(DomainDeleted(domain_id=domain.id))


def _lock_below(tx: Transaction, domain: Project) -> list[Project]:
    """All projects of a domain, level by level; below one that is locked none is added."""
    found: list[Project] = []
    level = [domain.id]
    while level:
        chunks = [level[start : start + 500] for start in range(0, len(level), 500)]
        children = [one for chunk in chunks for one in tx.lock_all(Project, Project.c.parent_id.in_(chunk))]
        found += children
        level = [one.id for one in children]
    return found


def forget_role(tx: Transaction, role: Role) -> None:
    """Delete a role, which is locked, who holds it and what it implies."""
    tx.delete(Assignment, Assignment.c.role_id == role.id)
    tx.delete(RoleImplication, RoleImplication.c.prior_id == role.id)
    tx.delete(RoleImplication, RoleImplication.c.implied_id == role.id)
    tx.remove(role)


def refuse_same_name(tx: Transaction, project: Project) -> None:
    """Raise Conflict when a domain has such a project already, or the cloud such a domain."""
    same = tx.one(Project, Project.c.domain_id == project.domain_id, Project.c.name == project.name, Project.c.id != project.id)
    if same is not None:
        kind, where = ("domain", "") if project.is_domain else ("project", " in this domain")
        raise Conflict(f"There is a {kind} of the name {project.name}{where} already.")


def _forget(ctx: Context, project: Project) -> None:
    tx = ctx.db
    tx.delete(Assignment, Assignment.c.target_id == project.id)
    tx.delete(ApplicationCredential, ApplicationCredential.c.project_id == project.id)
    tx.delete(Credential, Credential.c.project_id == project.id)
    tx.delete(Limit, Limit.c.project_id == project.id)
    tx.delete(Limit, Limit.c.domain_id == project.id)
    tx.delete(ProjectEndpoint, ProjectEndpoint.c.project_id == project.id)
    tx.delete(ProjectEndpointGroup, ProjectEndpointGroup.c.project_id == project.id)
    tx.update(Trust, Trust.c.project_id == project.id, Trust.c.deleted_at.is_(None), deleted_at=clock.now())
    tx.update(User, User.c.default_project_id == project.id, default_project_id=None)
    _revoke_all(tx, project)
    tx.remove(project)
    ctx.publish(ProjectDeleted(project_id=project.id))


def _revoke_all(tx: Transaction, project: Project) -> None:
    revoke(tx, project_id=project.id)
    if project.is_domain:
        revoke(tx, domain_id=project.id)
