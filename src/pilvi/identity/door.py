"""What identity does for the services above it."""

from __future__ import annotations

from collections.abc import Iterable

from pilvi.identity import bootstrap
from pilvi.identity.logic.payload import PROJECT
from pilvi.identity.memory import of
from pilvi.identity.operations.catalog import catalog
from pilvi.identity.operations.standing import standing
from pilvi.identity.operations.tokens import authenticate, issue
from pilvi.identity.tables import Project, User
from pilvi.kernel.context import Context
from pilvi.kernel.db import Transaction
from pilvi.kernel.errors import NotFound
from pilvi.kernel.program import Program

__all__ = ["agents_token", "authenticate", "endpoint", "login_of", "names", "project_exists"]


def endpoint(of_: Context | Program, type: str, interface: str = "internal") -> str:
    """The URL of a service in this process's region; raises NotFound when the catalog has none.

    A Context is asked in its own transaction; a Program opens one.
    """
    if isinstance(of_, Program):
        with of_.db.transaction(write=False) as tx:
            return _endpoint(of_, tx, type, interface)
    if of_.db is None:
        return endpoint(of_.program, type, interface)
    return _endpoint(of_.program, of_.db, type, interface)


def _endpoint(program: Program, tx: Transaction, type: str, interface: str) -> str:
    region = program.settings.region
    for service in catalog(tx, of(program).recall).services:
        if service["type"] == type:
            for one in service["endpoints"]:
                if one["interface"] == interface and one["region_id"] in (region, None):
                    return str(one["url"])
    raise NotFound(f"The catalog has no {interface} endpoint of type {type} in region {region}.")


def agents_token(program: Program, *, seconds: float = 3600) -> str:
    """A token of the cloud's own user for hosts' agents, good for images' data and nothing else; opens a transaction of its own."""
    from pilvi.kernel import clock

    memory = of(program)
    recall = memory.recall
    with program.db.transaction(write=False) as tx:
        user = tx.one(User, User.c.domain_id == bootstrap.DEFAULT_DOMAIN, User.c.name == bootstrap.SERVICE_USER)
        project = tx.one(Project, Project.c.domain_id == bootstrap.DEFAULT_DOMAIN, Project.c.name == bootstrap.SERVICE_PROJECT)
        if user is None or project is None:
            raise NotFound("The cloud's own user or project is missing: start the program again to have it made.")
        who = standing(tx, recall, user.id, PROJECT, project.id, application_credential_id=bootstrap.AGENTS)
        return issue(memory, tx, who, ("application_credential",), expires_at=clock.now() + seconds)[0]


def login_of(program: Program, token_id: str) -> tuple[float, float] | None:
    """When the token of that audit id was asked for here, and how many seconds it took; None when nobody remembers."""
    return of(program).logins.get(token_id)


def names(tx: Transaction, project_ids: Iterable[str]) -> dict[str, str]:
    """The names of projects, by id; those that are gone are left out."""
    return {row.id: row.name for row in tx.by(Project, Project.c.id, project_ids)}


def project_exists(tx: Transaction, id: str) -> bool:
    """Whether there is such a project."""
    return tx.get(Project, id) is not None
