"""Roles, which of them imply others, and who holds them on what."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from pilvi.kernel.db import Column, Key, Ref, Row, Text

Kind = Annotated[str, Column(type=sa.String(8), primary=True)]


class Role(Row, table="identity_roles", unique=[("domain_id", "name")]):
    """A name for rights.  One with a domain stands only for the roles that it implies, and never in tokens."""

    id: Key
    domain_id: Ref = ""
    name: str
    description: Text | None = None
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}


class RoleImplication(Row, table="identity_role_implications"):
    """Who holds the prior role holds the implied one."""

    prior_id: Key
    implied_id: Key


class Assignment(Row, table="identity_assignments", indexes=[("target_id",), ("role_id",)]):
    """A role held by an actor (user, group) on a target (project, domain, system).

    An inherited one holds not there but on all projects below.
    """

    actor_id: Key
    target_id: Key  # of the system: "all"
    role_id: Key
    actor_kind: Kind
    target_kind: Kind
    inherited: Annotated[bool, Column(type=sa.Boolean(), primary=True)] = False
