"""Scenarios of servers that move between two hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilvi import compute
from tests.crash.acts import SERVERS, act, after, full, is_full, server
from tests.crash.lives import HOST, OTHER, Story
from tests.crash.scenario import scenario


def beside(story: Story) -> None:
    """A server that has all, on the first host, and a second host."""
    full(story)
    story.scribble(server(story)["id"])
    story.life.join(OTHER)
    story.life.wait(lambda: len(story.life.ask("GET", "/compute/v2.1/os-hypervisors")["hypervisors"]) == 2)


def is_on(host: str, status: str = "ACTIVE", *, data: bool = True, alive: bool = False) -> Callable[[Story], None]:
    """The server is on this host with all that it has; `data`: what it wrote came along; `alive`: it was not restarted."""

    def look(story: Story) -> None:
        found = server(story)
        assert (found["OS-EXT-SRV-ATTR:host"], found["status"]) == (host, status), found
        if status == "ACTIVE":
            is_full(story)
        world = story.world.hosts()[host]
        letter = world.written.get((found["id"], "root"), "")
        assert bool(letter) == data
        if alive:
            assert world.machines[found["id"]].memory == letter

    return look


def say_of_host(story: Story, **values: Any) -> None:
    """Say something of the first host's compute service."""
    services = story.life.ask("GET", f"/compute/v2.1/os-services?binary=nova-compute&host={HOST}")["services"]
    story.life.ask("PUT", f"/compute/v2.1/os-services/{services[0]['id']}", values)


def full_host(story: Story) -> None:
    """The first host takes no more servers."""
    say_of_host(story, status="disabled")


def evacuate(story: Story) -> None:
    say_of_host(story, forced_down=True)
    act("evacuate", {})(story)


def drain(story: Story) -> None:
    life = story.life
    life.program.db.run(lambda tx: compute.drain(life.program.system_context(tx), HOST))


def in_vain(host: str, verb: str, action: str, body: Any = None) -> Callable[[Story], None]:
    """The action, with a driver that fails once, on that host."""

    def begin(story: Story) -> None:
        story.life.break_verb("compute", verb, "the lift is stuck", times=1, host=host)
        act(action, body)(story)

    return begin


def is_gone(story: Story) -> None:
    """Nothing of it is on either host."""
    assert not server(story)
    for world in story.world.hosts().values():
        assert not (world.machines or world.disks or world.written)


LIVE = {"host": None, "block_migration": "auto"}
MOVED = after(beside, act("migrate"))

scenario("ResizeServer", beside, act("migrate"), is_on(OTHER, "VERIFY_RESIZE"), way="move")
scenario("ResizeServer", after(beside, full_host), act("resize", {"flavorRef": "2"}), is_on(OTHER, "VERIFY_RESIZE"), way="elsewhere")
scenario("ConfirmResize", MOVED, act("confirmResize"), is_on(OTHER), way="move")
scenario("RevertResize", MOVED, act("revertResize"), is_on(HOST), way="move")
scenario("ReturnServer", beside, in_vain(OTHER, "fetch_disks", "migrate"), is_on(HOST))
scenario("LiveMigrate", beside, act("os-migrateLive", LIVE), is_on(OTHER, alive=True))
scenario("CleanHost", beside, in_vain(HOST, "migrate", "os-migrateLive", LIVE), is_on(HOST, alive=True), way="move")
scenario("EvacuateServer", beside, evacuate, is_on(OTHER, data=False))
scenario("UnshelveServer", after(beside, act("shelve"), full_host), act("unshelve"), is_on(OTHER, data=False), way="move")
scenario("DeleteServer", MOVED, lambda story: story.life.ask("DELETE", f"{SERVERS}/{server(story)['id']}"), is_gone, way="move")
scenario("DrainHost", beside, drain, is_on(OTHER, alive=True))
