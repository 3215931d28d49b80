"""The five people that every route is tried as: admin, member, reader, a stranger of another project, and nobody."""

from __future__ import annotations

from pilvi.kernel.context import NOBODY, Caller
from pilvi.kernel.errors import Unauthenticated

PROJECT = "11111111111111111111111111111111"
OTHER_PROJECT = "22222222222222222222222222222222"
DOMAIN = "default"


def person(name: str, *roles: str, project: str = PROJECT, system: str = "", domain: str = "") -> Caller:
    """Someone with these roles in the project (or in the system, or a domain)."""
    return Caller(
        user_id=f"{name:0<32}".replace("-", "0")[:32], user_name=name, user_domain_id=DOMAIN, user_domain_name="Default",
        project_id="" if system or domain else project, project_name="" if system or domain else f"project-{project[:4]}",
        project_domain_id="" if system or domain else DOMAIN, project_domain_name="" if system or domain else "Default",
        system_scope=system, domain_id=domain, roles=frozenset(roles), token_id=name, expires_at=4e9,
    )  # fmt: skip


PEOPLE: dict[str, Caller] = {
    "admin": person("admin", "admin", "manager", "member", "reader"),
    "manager": person("manager", "manager", "member", "reader"),
    "member": person("member", "member", "reader"),
    "reader": person("reader", "reader"),
    "stranger": person("stranger", "member", "reader", project=OTHER_PROJECT),
    "system": person("system-admin", "admin", "manager", "member", "reader", system="all"),
    "nobody": NOBODY,
}


def authenticate(token: str) -> Caller:
    """In tests without identity a token is a person's name."""
    found = PEOPLE.get(token)
    if found is None or not found.user_id:
        raise Unauthenticated
    return found
