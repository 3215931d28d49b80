"""Every workflow, killed before and after each of its steps: the next life of the program ends it, and nothing leaks."""

from __future__ import annotations

import pytest

from tests.crash import audit
from tests.crash.lives import Story
from tests.crash.scenarios import SCENARIOS, WORKFLOWS, Scenario

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

CASES = [
    (scenario, step.name, when)
    for scenario in SCENARIOS
    for step in WORKFLOWS[scenario.workflow][1].steps
    for when in ("before", "after")
]


def test_every_workflow_has_a_scenario() -> None:
    assert set(WORKFLOWS) == {one.workflow for one in SCENARIOS}
    assert len({one.name for one in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.name for one in SCENARIOS])
def test_undisturbed(story: Story, scenario: Scenario) -> None:
    scenario.before(story)
    story.life.idle()
    scenario.begin(story)
    audit.settled(story.life)
    scenario.ends(story)


@pytest.mark.parametrize(("scenario", "step", "when"), CASES, ids=[f"{one.name}-{step}-{when}" for one, step, when in CASES])
def test_killed(story: Story, scenario: Scenario, step: str, when: str) -> None:
    scenario.before(story)
    story.life.idle()
    first = story.life
    story.kill_at(scenario.workflow, step, when)
    scenario.begin(story)
    assert first.killed.wait(10), f"{scenario.workflow} never came to {step}"
    audit.settled(story.next_life())
    scenario.ends(story)
