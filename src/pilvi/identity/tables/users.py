"""Users, their passwords and failures to show them, and groups."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.db import Key, Ref, Row, Serial, Text


class User(Row, table="identity_users", unique=[("domain_id", "name")]):
    """Someone, or something, that can authenticate."""

    id: Key
    domain_id: Ref
    name: str
    enabled: bool = True
    default_project_id: Ref | None = None
    password_expires_at: float | None = None
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    created_at: float = 0.0


class Password(Row, table="identity_passwords", indexes=[("user_id",)]):
    """One of a user's passwords; the newest is the one that counts, the others are its history."""

    id: Serial = 0
    user_id: Ref
    hash: str
    created_at: float
    expires_at: float | None = None
    self_service: bool = False  # chosen by the user, not by an administrator


class Failure(Row, table="identity_failures"):
    """Wrong passwords in a row, for the lockout."""

    user_id: Key
    attempts: int
    failed_at: float


class Group(Row, table="identity_groups", unique=[("domain_id", "name")]):
    """A set of users to which roles can be given."""

    id: Key
    domain_id: Ref
    name: str
    description: Text = ""
    extra: dict[str, Any] = {}


class GroupMember(Row, table="identity_group_members", indexes=[("user_id",)]):
    """A user's membership of a group."""

    group_id: Key
    user_id: Key
