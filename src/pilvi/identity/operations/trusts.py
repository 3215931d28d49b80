"""Trusts: roles that one user lends to another, who may lend them on if they were lent so."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from pilvi.identity.memory import of
from pilvi.identity.operations.effective import held_on_project, role_graph
from pilvi.identity.operations.revocations import revoke
from pilvi.identity.policy import need
from pilvi.identity.tables import Credential, Project, Role, Trust, User
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Forbidden, Invalid, NotFound


def add(ctx: Context, trust: Trust, roles: list[tuple[str | None, str | None]], *, redelegable: bool, redelegations: int | None) -> Trust:
    """Remember a new trust; `roles` are (id, name) pairs.

    Raises Forbidden or NotFound when the trustor does not hold what is lent.
    """
    tx, most = ctx.db, of(ctx.program).settings.max_trust_redelegation
    parent = tx.get(Trust, ctx.caller.trust_id) if ctx.caller.trust_id else None
    project = tx.get_to_build_on(Project, trust.project_id) if trust.project_id is not None else None
    tx.hold_all(User, [trust.trustor_user_id, trust.trustee_user_id, *([parent.trustor_user_id] if parent is not None else [])])
    for user_id in (trust.trustor_user_id, trust.trustee_user_id):
        need(tx.get(User, user_id), "User", user_id)
    parent = tx.get_to_build_on(Trust, parent.id) if parent is not None else None
    if ctx.caller.trust_id and (parent is None or parent.deleted_at is not None):
        raise Forbidden("The trust by which this is asked is gone.")
    trust.redelegation_count = _redelegations(most, parent, redelegable, redelegations)
    if trust.redelegation_count and trust.remaining_uses is not None:
        raise Invalid("A trust that may be lent on cannot be limited in uses.", field="remaining_uses")
    graph = role_graph(tx)
    held: set[str] = set()
    if trust.project_id is not None:
        project = need(project, "Project", trust.project_id)
        lender = parent.trustor_user_id if parent is not None else trust.trustor_user_id
        held = {one for role_id in held_on_project(tx, lender, project) for one in graph.implied(role_id)}
        if not roles:
            raise Forbidden("A trust for a project must lend at least one role.")
    elif roles:
        raise Invalid("A trust without a project can lend no roles.", field="roles")
    trust.roles = [_role_id(graph.roles, held, role_id, name) for role_id, name in roles]
    if parent is not None:
        _refuse_more(parent, trust)
        trust.trustor_user_id, trust.redelegated_trust_id = parent.trustor_user_id, parent.id
    return tx.insert(trust)


def remove(ctx: Context, trust: Trust) -> None:
    """End a trust and those that were lent on from it; their tokens are void."""
    tx = ctx.db
    now = need(tx.get_to_change(Trust, trust.id), "Trust", trust.id)
    waiting = [now] if now.deleted_at is None else []
    while waiting:
        one = waiting.pop()
        tx.change(one, deleted_at=clock.now())
        tx.delete(Credential, Credential.c.trust_id == one.id)
        revoke(tx, trust_id=one.id)
        waiting += tx.lock_all(Trust, Trust.c.redelegated_trust_id == one.id, Trust.c.deleted_at.is_(None))


def purge(tx: Transaction, lifetime: float) -> None:
    """Forget trusts that have been over for longer than their tokens could last."""
    horizon = clock.now() - lifetime
    over = sa.or_(Trust.c.deleted_at < horizon, Trust.c.expires_at < horizon)
    if tx.count(Trust, over):
        tx.delete(Trust, over)


def living(ctx: Context, *where: Any) -> list[Trust]:
    """The trusts that are not over."""
    now = clock.now()
    rows = ctx.db.all(Trust, Trust.c.deleted_at.is_(None), *where, order=[Trust.c.id])
    return [row for row in rows if row.expires_at is None or row.expires_at > now]


def find(ctx: Context, trust_id: str) -> Trust | None:
    """A trust that is not over."""
    found = living(ctx, Trust.c.id == trust_id)
    return found[0] if found else None


def _redelegations(most: int, parent: Trust | None, redelegable: bool, wanted: int | None) -> int:
    """How often a new trust may be lent on."""
    if parent is None:
        if wanted is not None and wanted > most:
            raise Forbidden(f"A trust can be lent on at most {most} times.")
        return (most if wanted is None else wanted) if redelegable else 0
    if parent.redelegation_count <= 0:
        raise Forbidden("This trust may not be lent on.")
    if wanted is not None and wanted >= parent.redelegation_count:
        raise Forbidden(f"Lent on, this trust can be lent on at most {parent.redelegation_count - 1} times more.")
    return (parent.redelegation_count - 1 if wanted is None else wanted) if redelegable else 0


def _role_id(known: dict[str, Role], held: set[str], role_id: str | None, name: str | None) -> str:
    """The id of a role that is lent, which the trustor must hold."""
    if role_id is None:
        named = [role.id for role in known.values() if role.name == name and not role.domain_id]
        role_id = named[0] if named else ""
    if role_id not in held:
        raise NotFound(f"Role {name or role_id} is not held by the trustor in this project.")
    return role_id


def _refuse_more(parent: Trust, trust: Trust) -> None:
    """What is lent on can't be more than what was lent."""
    if trust.project_id != parent.project_id or not set(trust.roles) <= set(parent.roles):
        raise Forbidden("Only the roles that were lent, in the same project, can be lent on.")
    if trust.impersonation and not parent.impersonation:
        raise Forbidden("A trust without impersonation cannot be lent on with it.")
    if parent.expires_at is not None and (trust.expires_at is None or trust.expires_at > parent.expires_at):
        if trust.expires_at is not None:
            raise Forbidden("A trust that is lent on must end no later than the one it comes from.")
        msgspec.structs.force_setattr(trust, "expires_at", parent.expires_at)
