"""What a scenario is: what is there before, the one request that starts a workflow, and what must hold at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pilvi import program
from pilvi.kernel.service import Service
from pilvi.kernel.workflows import Workflow
from tests.crash.lives import Story

WORKFLOWS: dict[str, tuple[Service, type[Workflow]]] = {
    kind.__name__: (service, kind) for service in program.SERVICES for kind in service.workflows
}


@dataclass(frozen=True)
class Scenario:
    """A workflow's story; `way` tells several of one workflow apart."""

    workflow: str
    before: Callable[[Story], Any]
    begin: Callable[[Story], Any]
    ends: Callable[[Story], Any]
    way: str = ""

    @property
    def name(self) -> str:
        return f"{self.workflow}.{self.way}" if self.way else self.workflow


SCENARIOS: list[Scenario] = []


def scenario(workflow: str, before: Callable[[Story], Any], begin: Callable[[Story], Any], ends: Callable[[Story], Any], way: str = "") -> None:
    """Add one."""
    SCENARIOS.append(Scenario(workflow, before, begin, ends, way))
