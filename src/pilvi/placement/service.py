"""The manifest of placement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from pilvi.kernel.db import Transaction
from pilvi.kernel.program import Program
from pilvi.kernel.service import Service
from pilvi.placement.api import allocations, candidates, inventories, provider_parts, providers, reshaper, resource_classes, root, traits, usages
from pilvi.placement.dialect import DIALECT
from pilvi.placement.operations.providers import touch
from pilvi.placement.policy import BASE
from pilvi.placement.tables import Allocation, Stock


def check_used(program: Program) -> Iterator[tuple[str, str, str, Any]]:
    """Find inventories whose used amount is not the sum of their allocations."""
    summed = (
        sa.select(Allocation.c.provider, Allocation.c.resource_class, sa.func.sum(Allocation.c.used).label("used"))
        .group_by(Allocation.c.provider, Allocation.c.resource_class)
        .subquery()
    )
    joined = Stock.t.outerjoin(summed, sa.and_(summed.c.provider == Stock.c.provider, summed.c.resource_class == Stock.c.resource_class))
    allocated = sa.func.coalesce(summed.c.used, 0)
    statement = sa.select(Stock.c.provider, Stock.c.resource_class, Stock.c.used, allocated).select_from(joined).where(Stock.c.used != allocated)
    with program.db.transaction(write=False) as tx:
        drifted = [(row[0], row[1], int(row[2]), int(row[3])) for row in tx.rows(statement)]
    for provider, name, used, right in drifted:
        said = f"{name} of provider {provider}: {used} are noted as used, but {right} are allocated."
        yield "inventory drift", provider, said, _mend(program, provider, name)


def _mend(program: Program, provider: str, name: str) -> Any:
    """The function that writes the right amount."""

    def work(tx: Transaction) -> None:
        right = tx.sum(Allocation.c.used, Allocation.c.provider == provider, Allocation.c.resource_class == name)
        tx.update(Stock, Stock.c.provider == provider, Stock.c.resource_class == name, used=right)
        touch(tx, provider)

    return lambda: program.db.run(work)


SERVICE = Service(
    name="placement",
    type="placement",
    title="placement",
    path="/placement",
    port=8778,
    catalog="",
    dialect=DIALECT,
    resources=[
        root.root,
        providers.resource_providers,
        inventories.resource,
        provider_parts.aggregates,
        provider_parts.traits,
        provider_parts.usages,
        provider_parts.allocations,
        resource_classes.resource,
        traits.resource,
        allocations.resource,
        usages.resource,
        candidates.resource,
        reshaper.resource,
    ],
    rules=BASE,
    checks=[check_used],
)
