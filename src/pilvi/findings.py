"""Findings: what is orphaned or drifted between database, hypervisor, network and disks, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pilvi.kernel import log
from pilvi.kernel.errors import PilviError

if TYPE_CHECKING:
    from pilvi.kernel.program import Program

Mend = Callable[[], None]


def check(program: Program, *, repair: bool = False) -> dict[str, Any]:
    """Run the checks of all services.

    A check is a function of the program that yields (kind, subject, sentence, mend): `mend` None where a person must
    decide.  Answers what was found and, with `repair`, what was mended.
    """
    told: list[dict[str, Any]] = []
    checked = 0
    for service in program.services.values():
        for look in service.checks:
            checked += 1
            for kind, subject, sentence, mend in list(look(program)):
                mended = False
                if repair and mend is not None:
                    try:
                        mend()
                        mended = True
                    except PilviError as error:
                        sentence = f"{sentence} It could not be mended: {error.message}"
                log.info("finding", kind=kind, subject=subject, sentence=sentence, mended=mended)
                told.append({"kind": kind, "subject": subject, "sentence": sentence, "mended": mended})
    return {"checked": checked, "findings": told}
