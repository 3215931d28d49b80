"""Users: made, changed, deleted; their passwords and the rules for them."""

from __future__ import annotations

from typing import Any

from pilvi.identity.events import UserDeleted
from pilvi.identity.memory import Memory
from pilvi.identity.operations.password_login import login, newest_password
from pilvi.identity.operations.revocations import revoke
from pilvi.identity.tables import Assignment, Failure, GroupMember, Password, Project, Trust, User
from pilvi.identity.tables.credentials import AccessRule, ApplicationCredential, Credential
from pilvi.kernel import clock
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import Conflict, Forbidden, Invalid, NotFound

DAY = 86400.0


def need_domain(tx: Transaction, domain_id: str) -> Project:
    """The domain of that id, which stays until what is made in it is there; raises NotFound."""
    row = tx.get_to_build_on(Project, domain_id)
    if row is None or not row.is_domain:
        raise NotFound(f"Domain {domain_id} could not be found.")
    return row


def add(tx: Transaction, memory: Memory, user: User, hashed: str | None) -> User:
    """Remember a new user, and the hash of their password if they have one."""
    need_domain(tx, user.domain_id)
    _refuse_same_name(tx, user)
    tx.insert(user)
    if hashed is not None:
        set_password(tx, memory, user, hashed)
    return user


def alter(tx: Transaction, memory: Memory, user: User, changes: dict[str, Any], hashed: str | None) -> User:
    """Change a user's attributes; with a new password, or disabled, all their tokens are void."""
    if "name" in changes and changes["name"] != user.name:
        _refuse_same_name(tx, User(id=user.id, domain_id=user.domain_id, name=changes["name"]))
    if hashed is not None or (user.enabled and changes.get("enabled") is False):
        revoke(tx, user_id=user.id)
    if changes:
        tx.change(user, **changes)
    if hashed is not None:
        set_password(tx, memory, user, hashed)
        tx.delete(Failure, Failure.c.user_id == user.id)
    return user


def remove(ctx: Context, user: User) -> None:
    """Delete a user, who is locked, and all that is theirs in identity."""
    tx, user_id = ctx.db, user.id
    for kind in (Password, Credential, ApplicationCredential, AccessRule, Failure, GroupMember):
        tx.delete(kind, kind.c.user_id == user_id)
    tx.delete(Assignment, Assignment.c.actor_id == user_id)
    now = clock.now()
    for column in (Trust.c.trustor_user_id, Trust.c.trustee_user_id):
        tx.update(Trust, column == user_id, Trust.c.deleted_at.is_(None), deleted_at=now)
    tx.remove(user)
    revoke(tx, user_id=user_id)
    ctx.publish(UserDeleted(user_id=user_id))


def change_own_password(memory: Memory, user_id: str, original: str, password: str, address: str) -> None:
    """A user's own new password.  Raises Unauthenticated for a wrong original, Invalid for one that the rules forbid."""
    settings = memory.settings
    user = login(memory, original, address, user_id=user_id, to_change=True)
    if user.options.get("lock_password"):
        raise Forbidden("The password of this user may only be changed by an administrator.")
    memory.hasher.accept(password)
    with memory.program.db.transaction(write=False) as tx:
        newest = newest_password(tx, user.id)
        remembered = settings.unique_last_password_count
        history = tx.all(Password, Password.c.user_id == user.id, order=[Password.c.id.desc()], limit=remembered) if remembered else []
    if newest is not None and newest.self_service:
        wait = newest.created_at + settings.minimum_password_age_days * DAY - clock.now()
        if wait > 0:
            raise Invalid(f"The password cannot be changed before {wait / DAY:.1f} days have passed.", field="password")
    if any(memory.hasher.fits(one.hash, password) for one in history):
        raise Invalid(f"The new password may not be one of the last {settings.unique_last_password_count}.", field="password")
    hashed = memory.hasher.hash(password)

    def write(tx: Transaction) -> None:
        row = tx.get_to_change(User, user.id)  # two at once would both replace the same password
        current = newest_password(tx, user.id)
        if newest is None or current is None or current.id != newest.id:
            raise Conflict("The password was changed by another request at the same time.")
        if row is not None:
            revoke(tx, user_id=user.id)
            set_password(tx, memory, row, hashed, self_service=True)

    memory.program.db.run(write)


def set_password(tx: Transaction, memory: Memory, user: User, hashed: str, *, self_service: bool = False) -> None:
    """Make this the user's password; of the older ones as many are kept as may not be used again."""
    settings, now = memory.settings, clock.now()
    expires = settings.password_expires_days
    ends = now + expires * DAY if expires > 0 and not user.options.get("ignore_password_expiry") else None
    older = tx.all(Password, Password.c.user_id == user.id, order=[Password.c.id.desc()])
    for row in older[max(0, settings.unique_last_password_count - 1) :]:
        tx.remove(row)
    tx.insert(Password(user_id=user.id, hash=hashed, created_at=now, expires_at=ends, self_service=self_service))
    tx.change(user, password_expires_at=ends)


def _refuse_same_name(tx: Transaction, user: User) -> None:
    if tx.one(User, User.c.domain_id == user.domain_id, User.c.name == user.name, User.c.id != user.id) is not None:
        raise Conflict(f"There is a user of the name {user.name} in this domain already.")
