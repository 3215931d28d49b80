"""Revocations: which tokens are void though they have not expired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilvi.identity.logic.payload import DOMAIN, PROJECT, Payload
from pilvi.identity.tables import Revocation
from pilvi.kernel import clock
from pilvi.kernel.db import Transaction

if TYPE_CHECKING:
    from pilvi.identity.memory import Recall

_FIELDS = ("audit_id", "audit_chain_id", "user_id", "project_id", "domain_id", "trust_id")


class Revoked:
    """All revocations, so kept that a token is looked up by each of its marks."""

    def __init__(self, rows: list[Revocation]) -> None:
        self._before: dict[tuple[str, str], float] = {}
        for row in rows:
            for field in _FIELDS:
                value = getattr(row, field)
                if value:
                    key = (field, value)
                    self._before[key] = max(self._before.get(key, 0.0), row.issued_before)

    def covers(self, payload: Payload, *, user_domain_id: str = "", project_domain_id: str = "") -> bool:
        """Whether a token is void."""
        if not self._before:
            return False
        marks = [
            ("audit_id", payload.audit_ids[0]), ("audit_chain_id", payload.audit_ids[-1]), ("user_id", payload.user_id),
            ("trust_id", payload.trust_id), ("domain_id", user_domain_id), ("domain_id", project_domain_id),
            ("project_id" if payload.scope == PROJECT else "domain_id" if payload.scope == DOMAIN else "", payload.scope_id),
        ]  # fmt: skip
        return any(payload.issued_at <= self._before.get(mark, -1.0) for mark in marks)


def revoked(tx: Transaction, recall: Recall) -> Revoked:
    """The revocations in force, remembered."""
    if recall.revoked is None:
        recall.revoked = Revoked(tx.all(Revocation))
    return recall.revoked


def revoke(tx: Transaction, **marks: str) -> None:
    """Void the tokens issued until now that carry the mark: audit_id, audit_chain_id, user_id, project_id, domain_id or trust_id.

    One mark each; revoking the same again moves the moment.
    """
    now = clock.now()
    for field, value in marks.items():
        where = [Revocation.c[name] == (value if name == field else "") for name in _FIELDS]
        if not tx.update(Revocation, *where, issued_before=now, revoked_at=now):
            row = Revocation(issued_before=now, revoked_at=now)
            setattr(row, field, value)
            tx.insert(row)


def purge(tx: Transaction, lifetime: float) -> None:
    """Forget revocations of tokens that have expired meanwhile."""
    old = Revocation.c.revoked_at < clock.now() - lifetime
    if tx.count(Revocation, old):
        tx.delete(Revocation, old)
