"""What identity tells those above."""

from __future__ import annotations

import msgspec


class UserDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A user is gone, with all that was theirs in identity."""

    user_id: str


class ProjectDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A project is gone; what services keep for it belongs to nobody now."""

    project_id: str


class DomainDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A domain is gone, with its users, groups and projects."""

    domain_id: str
