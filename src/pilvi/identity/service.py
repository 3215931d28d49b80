"""The manifest of identity."""

from __future__ import annotations

from pilvi.identity import keys
from pilvi.identity.api import RESOURCES
from pilvi.identity.api import RULES as API_RULES
from pilvi.identity.bootstrap import bootstrap
from pilvi.identity.dialect import DIALECT, PATH, PORT
from pilvi.identity.memory import of
from pilvi.identity.operations import password_login, revocations, trusts
from pilvi.identity.policy import RULES
from pilvi.kernel.db import Transaction
from pilvi.kernel.program import Program
from pilvi.kernel.service import Service
from pilvi.kernel.workflows.periodic import Periodic


def tidy(program: Program) -> None:
    """Change the token key when it is old, and forget what has expired."""
    memory = of(program)

    def work(tx: Transaction) -> None:
        keys.rotate(tx, memory.wrap, memory.settings)
        lifetime = memory.settings.token_lifetime + memory.settings.expired_window
        revocations.purge(tx, lifetime)
        trusts.purge(tx, lifetime)
        password_login.purge(tx, max(lifetime, memory.settings.lockout_duration))

    program.db.run(work)


SERVICE = Service(
    name="identity", type="identity", title="keystone", path=PATH, port=PORT, catalog="/v3", dialect=DIALECT, resources=RESOURCES,
    rules=[*RULES, *API_RULES], periodic=[Periodic("identity tidy", 3600.0, tidy)], bootstrap=bootstrap,
)  # fmt: skip
