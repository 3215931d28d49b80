"""What a new cloud is born with, and what is looked after all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilvi.network.operations import default_groups, reports

if TYPE_CHECKING:
    from pilvi.kernel.program import Program


def bootstrap(program: Program) -> None:
    """Have the template of security groups, and the external network of the settings, if they name one."""
    program.db.run(lambda tx: default_groups.plant(program.system_context(tx)))


def heal(program: Program) -> None:
    """Place what has no living host."""
    program.db.run(lambda tx: reports.heal(program.system_context(tx)))
