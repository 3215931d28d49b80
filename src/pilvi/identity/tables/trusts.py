"""Trusts."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.db import Key, Ref, Row


class Trust(Row, table="identity_trusts", indexes=[("trustor_user_id",), ("trustee_user_id",)]):
    """Roles that one user lends to another."""

    id: Key
    trustor_user_id: Ref
    trustee_user_id: Ref
    project_id: Ref | None = None
    impersonation: bool = False
    expires_at: float | None = None
    remaining_uses: int | None = None
    roles: list[str] = []
    redelegated_trust_id: Ref | None = None
    redelegation_count: int = 0
    deleted_at: float | None = None
    extra: dict[str, Any] = {}
