"""Delete during every step of all work on a server: it is gone at once, and all that it held is given back."""

from __future__ import annotations

import threading

import pytest

from pilvi.compute.workflows.server_work import ServerWork
from tests.crash import audit
from tests.crash.acts import NETWORK, SERVERS, VOLUMES, server
from tests.crash.lives import Story
from tests.crash.scenarios import SCENARIOS, WORKFLOWS, Scenario

CASES = [
    (scenario, step.name, when)
    for scenario in SCENARIOS
    for step in WORKFLOWS[scenario.workflow][1].steps
    for when in ("before", "after")
    if issubclass(WORKFLOWS[scenario.workflow][1], ServerWork) and scenario.workflow != "DeleteServer"
]


@pytest.mark.parametrize(("scenario", "step", "when"), CASES, ids=[f"{one.name}-{step}-{when}" for one, step, when in CASES])
def test_delete_wins(story: Story, scenario: Scenario, step: str, when: str) -> None:
    life = story.life
    scenario.before(story)
    life.idle()
    there, go_on = threading.Event(), threading.Event()

    def hold(kind: str, name: str, moment: str) -> None:
        if (kind, name, moment) == (scenario.workflow, step, when) and not there.is_set():
            there.set()
            assert go_on.wait(20)

    life.program.crash_hook = hold
    try:
        scenario.begin(story)
        assert there.wait(10), f"{scenario.workflow} never came to {step}"
        found = server(story)
        if found:  # after the last step of some work
            life.ask("DELETE", f"{SERVERS}/{found['id']}")
        life.wait(lambda: not server(story), within=5)  # while the step is still held
    finally:
        go_on.set()
    audit.settled(life)
    nothing_is_held(story)


def nothing_is_held(story: Story) -> None:
    """No machine, no port with a device, no volume in use: only what people made is left, free, and what that needs."""
    world, life = story.world, story.life
    for machines in world.hosts().values():
        assert not machines.machines
        assert not machines.disks
    assert not [one for one in life.ask("GET", f"{NETWORK}/ports")["ports"] if one["device_owner"].startswith("compute:")]
    volumes = life.ask("GET", f"{VOLUMES}/volumes/detail")["volumes"]
    assert {one["status"] for one in volumes} <= {"available"}, volumes
    snapped = {one["volume_id"] for one in life.ask("GET", f"{VOLUMES}/snapshots")["snapshots"]}
    assert {one["name"] for one in volumes if one["id"] not in snapped} <= {"v"}, volumes
