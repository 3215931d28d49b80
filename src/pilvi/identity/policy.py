"""The base rules of identity, by Keystone's names, and the targets that rules look at."""

from __future__ import annotations

from typing import Any, TypeVar

from pilvi.kernel.context import Context
from pilvi.kernel.db import Row
from pilvi.kernel.errors import NotFound
from pilvi.kernel.policy import Rule

R = TypeVar("R", bound=Row)

SYSTEM_READER = "(role:reader and system_scope:all)"
ADMIN = "rule:admin_required"
ADMIN_OR_SYSTEM_READER = f"{ADMIN} or {SYSTEM_READER}"

RULES = [
    Rule("admin_required", "role:admin or is_admin:1", "An administrator."),
    Rule("service_role", "role:service", "A service of the cloud."),
    Rule("service_or_admin", "rule:admin_required or rule:service_role", "A service of the cloud, or an administrator."),
    Rule("owner", "user_id:%(user_id)s", "The user themselves."),
    Rule("admin_or_owner", "rule:admin_required or rule:owner", "An administrator, or the user themselves."),
    Rule("token_subject", "user_id:%(target.token.user_id)s", "Whose token it is."),
    Rule("admin_or_token_subject", "rule:admin_required or rule:token_subject", "An administrator, or whose token it is."),
    Rule(
        "service_admin_or_token_subject", "rule:service_or_admin or rule:token_subject",
        "A service of the cloud, an administrator, or whose token it is.",
    ),
    Rule(
        "domain_managed_target_role", "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s",
        "A role that managers of a domain may give and take.",
    ),
]  # fmt: skip

# the columns of a kind of thing that rules look at
_SEEN = {
    "user": ("id", "domain_id"), "group": ("id", "domain_id"), "project": ("id", "domain_id", "parent_id"), "domain": ("id",),
    "role": ("id", "domain_id", "name"), "credential": ("user_id",), "trust": ("trustor_user_id", "trustee_user_id"),
    "limit": ("project_id", "domain_id"), "token": ("user_id",),
}  # fmt: skip


def target(**things: Any) -> dict[str, Any]:
    """The policy target of these things: `user=row` gives target.user.id, target.user.domain_id, ..."""
    found: dict[str, Any] = {}
    for kind, thing in things.items():
        if isinstance(thing, str) or thing is None:
            if thing is not None:
                found[kind] = thing
            continue
        for field in _SEEN.get(kind, ()):
            found[f"target.{kind}.{field}"] = getattr(thing, field) or None
        if kind == "role":
            found["target.role.domain_id"] = thing.domain_id or "None"  # the rules' word for a role of no domain
    return {key: value for key, value in found.items() if value is not None}


def need(row: R | None, kind: str, ref: str) -> R:
    """The row, if it is there; raises NotFound."""
    if row is None:
        raise NotFound(f"{kind} {ref} could not be found.")
    return row


def see(ctx: Context, row: R | None, kind: str, ref: str, *, rule: str = "", **things: Any) -> R:
    """The row of that kind, if the caller may by the route's rule.

    Forbidden who may not, whether it is there or not; NotFound who may and it is not there.
    """
    facts = target(**things)
    if row is not None:
        facts |= target(**{kind.lower(): row})
        if kind == "Project" and getattr(row, "is_domain", False):
            facts.setdefault("target.domain.id", getattr(row, "id", ""))
        user_id = getattr(row, "user_id", "") or (getattr(row, "id", "") if kind == "User" else "")
        if user_id:
            facts.setdefault("user_id", user_id)
            facts.setdefault("target.user.id", user_id)
    ctx.allow(rule or ctx.rule, facts)
    return need(row, kind, ref)
