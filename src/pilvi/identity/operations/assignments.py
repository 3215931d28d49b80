"""Assignments as they are listed: as written down, or in effect (groups, inheritance and implication worked out)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from pilvi.identity.operations.effective import EVERYTHING, ancestors, below, group_ids, role_graph
from pilvi.identity.tables import Assignment, GroupMember, Project
from pilvi.kernel.db import Transaction


class Wanted(msgspec.Struct, kw_only=True):
    """Which assignments; None is any."""

    user_id: str | None = None
    group_id: str | None = None
    role_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False
    inherited: bool | None = None
    subtree: bool = False


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A role held by an actor on a target; in effect, with where that comes from."""

    actor_kind: str
    actor_id: str
    target_kind: str
    target_id: str
    role_id: str
    inherited: bool = False
    source: Assignment | None = None  # as written down, when that differs
    group_id: str = ""  # the group by whose membership
    prior_role_id: str = ""  # the role that implies this one


def written(tx: Transaction, wanted: Wanted) -> list[Held]:
    """The assignments as written down."""
    columns = Assignment.c
    where: list[Any] = []
    if wanted.user_id is not None:
        where += [columns.actor_kind == "user", columns.actor_id == wanted.user_id]
    if wanted.group_id is not None:
        where += [columns.actor_kind == "group", columns.actor_id == wanted.group_id]
    if wanted.role_id is not None:
        where.append(columns.role_id == wanted.role_id)
    if wanted.inherited is not None:
        where.append(columns.inherited.is_(wanted.inherited))
    if wanted.domain_id is not None:
        where += [columns.target_kind == "domain", columns.target_id == wanted.domain_id]
    if wanted.system:
        where.append(columns.target_kind == "system")
    if wanted.project_id is not None:
        rows = tx.by(Assignment, columns.target_id, _targets(tx, wanted), columns.target_kind == "project", *where)
    else:
        rows = tx.all(Assignment, *where)
    return [_held(row) for row in rows]


def effective(tx: Transaction, wanted: Wanted) -> list[Held]:
    """The assignments in effect: of users only, each on the project, domain or system where it holds, with implied roles."""
    graph = role_graph(tx)
    found: dict[tuple[str, str, str, str], Held] = {}
    for row in _candidates(tx, wanted):
        for place in _places(tx, row, wanted):
            for user_id, group_id in _people(tx, row, wanted):
                source = row if row.inherited or group_id else None
                for role_id in graph.implied(row.role_id):
                    role = graph.roles.get(role_id)
                    if role is None or role.domain_id or (wanted.role_id is not None and role_id != wanted.role_id):
                        continue
                    held = Held(
                        actor_kind="user", actor_id=user_id, target_kind=place[0], target_id=place[1], role_id=role_id, source=source,
                        group_id=group_id, prior_role_id=row.role_id if role_id != row.role_id else "",
                    )  # fmt: skip
                    found.setdefault((user_id, *place, role_id), held)
    return list(found.values())


def _held(row: Assignment) -> Held:
    return Held(
        actor_kind=row.actor_kind, actor_id=row.actor_id, target_kind=row.target_kind, target_id=row.target_id, role_id=row.role_id,
        inherited=row.inherited,
    )  # fmt: skip


def _targets(tx: Transaction, wanted: Wanted) -> list[str]:
    """The project that is asked for, and those below it if they are too."""
    assert wanted.project_id is not None
    return [wanted.project_id, *([one.id for one in below(tx, wanted.project_id)] if wanted.subtree else [])]


def _candidates(tx: Transaction, wanted: Wanted) -> list[Assignment]:
    """The assignments that may have the wanted effect."""
    columns = Assignment.c
    where: list[Any] = []
    if wanted.inherited is not None:
        where.append(columns.inherited.is_(wanted.inherited))
    if wanted.domain_id is not None:
        where += [columns.target_kind == "domain", columns.target_id == wanted.domain_id, columns.inherited.is_(False)]
    if wanted.system:
        where.append(columns.target_kind == "system")
    actors = [wanted.user_id, *group_ids(tx, wanted.user_id)] if wanted.user_id is not None else None
    if wanted.project_id is not None:
        project = tx.get(Project, wanted.project_id)
        if project is None:
            return []
        targets = [*_targets(tx, wanted), *(one.id for one in ancestors(tx, project)), project.domain_id]
        rows = tx.by(Assignment, columns.target_id, [one for one in targets if one], *where)
        return [row for row in rows if actors is None or row.actor_id in actors]
    return tx.all(Assignment, *where) if actors is None else tx.by(Assignment, columns.actor_id, actors, *where)


def _places(tx: Transaction, row: Assignment, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """Where an assignment holds, as far as that is asked for."""
    asked = set(_targets(tx, wanted)) if wanted.project_id is not None else None
    if row.target_kind == "system":
        if asked is None:
            yield "system", EVERYTHING
    elif not row.inherited:
        if asked is None or (row.target_kind == "project" and row.target_id in asked):
            yield row.target_kind, row.target_id
    elif wanted.domain_id is None:
        under = tx.all(Project, Project.c.domain_id == row.target_id) if row.target_kind == "domain" else below(tx, row.target_id)
        for project in under:
            if asked is None or project.id in asked:
                yield "project", project.id


def _people(tx: Transaction, row: Assignment, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """(user, group) for each user who holds an assignment; no group for one's own."""
    if row.actor_kind == "user":
        if wanted.user_id in (None, row.actor_id):
            yield row.actor_id, ""
        return
    for member in tx.all(GroupMember, GroupMember.c.group_id == row.actor_id):
        if wanted.user_id in (None, member.user_id):
            yield member.user_id, row.actor_id
