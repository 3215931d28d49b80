"""The options of users, roles, projects and domains; what is immutable may not be changed."""

from __future__ import annotations

from typing import Any

from pilvi.kernel.errors import Forbidden, Invalid

USER = {
    "ignore_change_password_upon_first_use": bool, "ignore_password_expiry": bool, "ignore_lockout_failure_attempts": bool,
    "ignore_user_inactivity": bool, "lock_password": bool, "multi_factor_auth_enabled": bool, "multi_factor_auth_rules": list,
    "immutable": bool,
}  # fmt: skip
PLACE = ROLE = {"immutable": bool}


def merged(old: dict[str, Any], given: dict[str, Any] | None, known: dict[str, type]) -> dict[str, Any]:
    """The options after a change: those given as null are taken away.  Raises Invalid for an unknown one."""
    found = dict(old)
    for name, value in (given or {}).items():
        if name not in known:
            raise Invalid(f"There is no option {name}; there are {', '.join(sorted(known))}.", field=f"options.{name}")
        if value is None:
            found.pop(name, None)
        elif not isinstance(value, known[name]):
            raise Invalid(f"The option {name} must be of type {known[name].__name__}.", field=f"options.{name}")
        else:
            found[name] = value
    rules = found.get("multi_factor_auth_rules", [])
    if not all(isinstance(rule, list) and rule and all(isinstance(word, str) for word in rule) for rule in rules):
        raise Invalid("The option multi_factor_auth_rules must be a list of lists of methods.", field="options.multi_factor_auth_rules")
    return found


def may_change(kind: str, options: dict[str, Any], change: dict[str, Any]) -> None:
    """Raise Forbidden for a change to what is immutable; that alone may be taken back."""
    if not options.get("immutable"):
        return
    given = change.get("options")
    if set(change) == {"options"} and isinstance(given, dict) and given.get("immutable", True) in (None, False):
        return
    raise Forbidden(f"The {kind} is immutable: take away its option immutable first.")


def may_delete(kind: str, options: dict[str, Any]) -> None:
    """Raise Forbidden when it is immutable."""
    if options.get("immutable"):
        raise Forbidden(f"The {kind} is immutable and cannot be deleted: take away its option immutable first.")
