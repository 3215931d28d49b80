"""Credentials beside passwords: EC2 keys and other secrets, application credentials and their access rules."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.db import Key, Ref, Row, Text


class Credential(Row, table="identity_credentials", indexes=[("user_id",)]):
    """A secret of some type; `blob` is encrypted."""

    id: Key
    user_id: Ref
    project_id: Ref | None = None
    type: str
    blob: Text
    trust_id: Ref | None = None  # what it may be used for at most
    application_credential_id: Ref | None = None
    extra: dict[str, Any] = {}


class ApplicationCredential(Row, table="identity_application_credentials", unique=[("user_id", "name")]):
    """A user's roles in one project, lent to a program."""

    id: Key
    user_id: Ref
    project_id: Ref
    name: str
    description: Text | None = None
    secret_hash: str
    expires_at: float | None = None
    unrestricted: bool = False
    roles: list[str] = []
    access_rules: list[str] | None = None
    created_at: float = 0.0


class AccessRule(Row, table="identity_access_rules", indexes=[("user_id",)]):
    """A call that an application credential allows."""

    id: Key
    user_id: Ref
    service: str
    path: str
    method: str
