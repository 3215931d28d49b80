"""Drivers that fail at each verb a workflow says: it ends in `failed`, says why, and once the host is well nothing leaks."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from pilvi.kernel.context import Context
from pilvi.kernel.errors import HostError
from pilvi.kernel.workflows import Workflow
from tests.crash import audit
from tests.crash.lives import Killed, Life, Story
from tests.crash.scenarios import SCENARIOS, WORKFLOWS, Scenario

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

# verbs that no workflow says, but heartbeats
LOOKS = {"facts", "observe", "capacity", "cached_images"}
SETTINGS = {"network": {"heartbeat_every": 0.3, "heal_every": 0.6}, "compute": {"heartbeat": 0.5}}  # a host heals by itself what it failed to do
Stories = Callable[..., Story]


def verbs_said(story: Story, scenario: Scenario) -> list[tuple[str, str]]:
    """(service, verb) of all that drivers are told between the request and the end of all work."""
    life = story.life
    before = {name: len(faults.told) for name, faults in life.faults.items()}
    scenario.begin(story)
    life.idle()
    said = [(name, verb) for name, faults in life.faults.items() for verb, _ in faults.told[before[name] :]]
    return [one for one in dict.fromkeys(said) if one[1] not in LOOKS]


def fail_at(life: Life, service: str, verb: str) -> None:
    """Begin with no other fault."""
    life.heal()
    life.break_verb(service, verb, "the host is ill")


def mended(story: Story) -> str:
    """Heal the host; what is still wrong when all have had their time."""
    life = story.life
    life.tried()
    life.heal()
    life.hurry()
    try:
        audit.settled(life)
    except AssertionError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.name for one in SCENARIOS])
def test_a_host_that_fails(new_story: Stories, scenario: Scenario) -> None:
    clean = new_story()
    scenario.before(clean)
    clean.life.idle()
    verbs = verbs_said(clean, scenario)
    clean.end()
    wrong = {}
    for service, verb in verbs:
        story = new_story(**SETTINGS)
        scenario.before(story)
        story.life.idle()
        fail_at(story.life, service, verb)
        scenario.begin(story)
        found = mended(story)
        if found:
            wrong[f"{service}.{verb}"] = found
        story.end()
    assert not wrong, "\n".join(f"{verb}: {found}" for verb, found in wrong.items())


SWEEPERS = {"CleanHost", "CloseExport", "DropSnapshot", "SweepCopy"}  # they do not fail, but wait until their host is well
FAILING = [one for one in SCENARIOS if one.workflow not in SWEEPERS]


@pytest.mark.parametrize("scenario", FAILING, ids=[one.name for one in FAILING])
def test_killed_while_it_fails(new_story: Stories, monkeypatch: pytest.MonkeyPatch, scenario: Scenario) -> None:
    """The life ends in the very moment before what `failed` wrote is committed; the next one fails anew."""
    kind = WORKFLOWS[scenario.workflow][1]
    first_effect = next((step for step in kind.steps if step.kind == "effect"), kind.steps[0])
    story = new_story(**SETTINGS)
    scenario.before(story)
    story.life.idle()
    life = story.life
    failed = kind.failed
    died = []

    def fail_and_die(self: Workflow, ctx: Context, why: str) -> None:
        failed(self, ctx, why)
        if ctx.program is life.program:
            died.append(why)
            life.kill()
            raise Killed

    monkeypatch.setattr(kind, "failed", fail_and_die)
    fail_step(monkeypatch, kind, first_effect.name)
    scenario.begin(story)
    assert life.killed.wait(10)
    assert died
    audit.settled(story.next_life())


def fail_step(monkeypatch: pytest.MonkeyPatch, kind: type[Workflow], name: str) -> None:
    """Have the step end in an error for good."""
    def run(workflow: Workflow, ctx: Context) -> None:
        raise HostError("the host is ill", elsewhere=False)

    monkeypatch.setattr(kind, "steps", tuple(msgspec.structs.replace(step, run=run) if step.name == name else step for step in kind.steps))
