"""Logging in with a password: compared in constant time, slowed when guessed at, locked when guessed at too often."""

from __future__ import annotations

import math

from pilvi.identity.memory import MOST, Memory
from pilvi.identity.tables import Failure, Password, Project, User
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import TooManyRequests, Unauthenticated


def login(
    memory: Memory, password: str, address: str, *, user_id: str | None = None, name: str | None = None, domain_id: str | None = None,
    domain_name: str | None = None, to_change: bool = False,
) -> User:  # fmt: skip
    """The user of that id, or of that name in that domain, if this is their password.

    Raises Unauthenticated without saying what was wrong, and TooManyRequests for who must wait.  `to_change`: the
    password may have expired, it is about to be changed.
    """
    asked = user_id or f"{name}@{domain_id or domain_name}"
    _make_wait(memory, (asked, address))
    with memory.program.db.transaction(write=False) as tx:
        user, domain = find_user(tx, user_id=user_id, name=name, domain_id=domain_id, domain_name=domain_name)
        newest = newest_password(tx, user.id) if user is not None else None
        failure = tx.get(Failure, user.id) if user is not None else None
    locked = user is not None and failure is not None and _is_locked(memory, user, failure)
    fits = memory.hasher.fits(newest.hash if newest is not None else None, password)
    if not fits or locked or user is None or newest is None:
        _note(memory, (asked, address), user if not locked else None)
        raise Unauthenticated
    memory.attempts.pop((asked, address), None)
    if failure is not None:
        memory.program.db.run(lambda tx: tx.delete(Failure, Failure.c.user_id == failure.user_id))
    if not user.enabled or domain is None or not domain.enabled:
        raise Unauthenticated
    if not to_change:
        _refuse_expired(memory, user, newest)
    return user


def find_user(
    tx: Transaction, *, user_id: str | None, name: str | None, domain_id: str | None, domain_name: str | None
) -> tuple[User | None, Project | None]:
    """The user and their domain, as far as they are there."""
    if user_id is not None:
        user = tx.get(User, user_id)
        return user, tx.get(Project, user.domain_id) if user is not None else None
    named = (Project.c.name == domain_name, Project.c.domain_id == "")
    domain = tx.get(Project, domain_id) if domain_id is not None else tx.one(Project, *named)
    if domain is None or name is None:
        return None, None
    return tx.one(User, User.c.domain_id == domain.id, User.c.name == name), domain


def newest_password(tx: Transaction, user_id: str) -> Password | None:
    """The password that counts."""
    found = tx.all(Password, Password.c.user_id == user_id, order=[Password.c.id.desc()], limit=1)
    return found[0] if found else None


def purge(tx: Transaction, lifetime: float) -> None:
    """Forget wrong passwords of long ago."""
    old = Failure.c.failed_at < clock.now() - lifetime
    if tx.count(Failure, old):
        tx.delete(Failure, old)


def _make_wait(memory: Memory, who: tuple[str, str]) -> None:
    """Refuse at once who has guessed wrong too often and is too early; nobody sleeps for it."""
    attempts, last = memory.attempts.get(who, (0, 0.0))
    beyond = attempts - memory.settings.free_attempts
    if beyond < 0:
        return
    delay = min(float(memory.settings.longest_delay), 2.0 ** min(beyond, 20))
    wait = last + delay - clock.now()
    if wait > 0:
        raise TooManyRequests("Too many wrong passwords; try again later.", retry_after=math.ceil(wait))


def _note(memory: Memory, who: tuple[str, str], user: User | None) -> None:
    """Remember a wrong password; the user's count is committed though the request is refused."""
    now = clock.now()
    with memory.lock:
        if len(memory.attempts) >= MOST:
            memory.attempts.clear()
        memory.attempts[who] = (memory.attempts.get(who, (0, 0.0))[0] + 1, now)
    if user is None or memory.settings.lockout_failure_attempts <= 0:
        return
    user_id, horizon = user.id, now - memory.settings.lockout_duration

    def count(tx: Transaction) -> None:
        if tx.get_to_change(User, user_id) is None:  # wrong passwords are counted one after the other
            return
        row = tx.get(Failure, user_id)
        attempts = row.attempts + 1 if row is not None and row.failed_at > horizon else 1
        tx.put(Failure(user_id=user_id, attempts=attempts, failed_at=now))

    memory.program.db.run(count)


def _is_locked(memory: Memory, user: User, failure: Failure) -> bool:
    limit = memory.settings.lockout_failure_attempts
    if limit <= 0 or failure.attempts < limit or user.options.get("ignore_lockout_failure_attempts"):
        return False
    return clock.now() < failure.failed_at + memory.settings.lockout_duration


def _refuse_expired(memory: Memory, user: User, newest: Password) -> None:
    expired = newest.expires_at is not None and newest.expires_at <= clock.now() and not user.options.get("ignore_password_expiry")
    first_use = (
        memory.settings.change_password_upon_first_use and not newest.self_service
        and not user.options.get("ignore_change_password_upon_first_use")
    )  # fmt: skip
    if expired or first_use:
        raise Unauthenticated(f"The password of user {user.id} has expired and must be changed.")
