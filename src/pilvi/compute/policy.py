"""The rules that compute's rights refer to, and short ways to declare a right with nova's default."""

from __future__ import annotations

from pilvi.kernel.policy import Rule

BASE = [
    Rule("context_is_admin", "role:admin", "Decides what makes a caller an administrator."),
    Rule("service_api", "role:service", "Default of what other services of the cloud ask."),
    Rule("project_manager_api", "role:manager and project_id:%(project_id)s", "Default of a project's managers."),
    Rule("project_member_api", "role:member and project_id:%(project_id)s", "Default of what a project's members may change."),
    Rule("project_reader_api", "role:reader and project_id:%(project_id)s", "Default of what a project's readers may see."),
    Rule("project_manager_or_admin", "rule:project_manager_api or rule:context_is_admin", "A project's managers or an administrator."),
    Rule("project_member_or_admin", "rule:project_member_api or rule:context_is_admin", "A project's members or an administrator."),
    Rule("project_reader_or_admin", "rule:project_reader_api or rule:context_is_admin", "A project's readers or an administrator."),
    Rule("service_or_admin", "rule:service_api or rule:context_is_admin", "Other services of the cloud, or an administrator."),
]
PREFIX = "os_compute_api:"


def member(name: str, description: str) -> Rule:
    """A right of a project's members (and of administrators)."""
    return Rule(PREFIX + name, "rule:project_member_or_admin", description, scope_types=("project",))


def reader(name: str, description: str) -> Rule:
    """A right of a project's readers (and of administrators)."""
    return Rule(PREFIX + name, "rule:project_reader_or_admin", description, scope_types=("project",))


def manager(name: str, description: str) -> Rule:
    """A right of a project's managers (and of administrators)."""
    return Rule(PREFIX + name, "rule:project_manager_or_admin", description, scope_types=("project",))


def admin(name: str, description: str) -> Rule:
    """A right of administrators."""
    return Rule(PREFIX + name, "rule:context_is_admin", description, scope_types=("project",))


def everyone(name: str, description: str) -> Rule:
    """A right of everyone who has a token."""
    return Rule(PREFIX + name, "@", description, scope_types=("project",))
