"""What tokens need remembered: the keys that sign them, which of them are revoked, and that something has changed."""

from __future__ import annotations

from pilvi.kernel.db import Blob, Key, Ref, Row, Serial, Word


class KeyRow(Row, table="identity_keys", indexes=[("purpose",)]):
    """A key, wrapped in the cloud's secret; the newest active one signs, all of them verify."""

    id: Serial = 0
    purpose: Word  # token, credential
    wrapped: Blob
    active_at: float


class Revocation(Row, table="identity_revocations", indexes=[("revoked_at",)]):
    """Tokens that fit all the fields that are set, and were issued before, are void."""

    id: Serial = 0
    audit_id: Ref = ""
    audit_chain_id: Ref = ""
    user_id: Ref = ""
    project_id: Ref = ""
    domain_id: Ref = ""
    trust_id: Ref = ""
    issued_before: float
    revoked_at: float


class Mark(Row, table="identity_marks"):
    """A number that grows with every change that may make what processes remember untrue."""

    name: Key
    value: int
