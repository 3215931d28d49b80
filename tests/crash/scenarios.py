"""All scenarios: at least one for every workflow."""

from __future__ import annotations

from tests.crash import compute_scenarios, move_scenarios, other_scenarios
from tests.crash.scenario import SCENARIOS, WORKFLOWS, Scenario

__all__ = ["SCENARIOS", "WORKFLOWS", "Scenario", "compute_scenarios", "move_scenarios", "other_scenarios"]
