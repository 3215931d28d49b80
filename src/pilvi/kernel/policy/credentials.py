"""Credentials as policy rules see them: who asks, in which scope, with which roles."""

from __future__ import annotations

from typing import Literal

import msgspec


class Creds(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule may ask of the caller.  `domain_id` is the scope's domain, None in a project or system scope."""

    user_id: str | None = None
    user_domain_id: str | None = None
    project_id: str | None = None
    project_domain_id: str | None = None
    domain_id: str | None = None
    system_scope: str | None = None  # "all" or None
    roles: frozenset[str] = frozenset()
    is_admin: bool = False
    is_admin_project: bool = True
    service_user_id: str | None = None
    service_user_domain_id: str | None = None
    service_project_id: str | None = None
    service_project_domain_id: str | None = None
    service_roles: frozenset[str] = frozenset()
    folded_roles: frozenset[str] = frozenset()  # the roles in lower case; made here, not given

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "folded_roles", frozenset(role.lower() for role in self.roles))

    @property
    def scope(self) -> Literal["system", "domain", "project"]:
        """The kind of scope that rules' `scope_types` name."""
        return "system" if self.system_scope else "domain" if self.domain_id else "project"
