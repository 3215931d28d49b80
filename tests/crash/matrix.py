"""The kill matrix: one long-lived cloud in parts, scenario after scenario, and in each a process that dies at a chosen moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.crash import audit, worlds
from tests.crash.acts import IMAGES, NETWORK, SERVERS, VOLUMES, nothing
from tests.crash.lives import HOST
from tests.crash.move_scenarios import evacuate
from tests.crash.parts import AGENTS, ONE_HOST, TWO_HOSTS, Part, Parts, Shape
from tests.crash.points import Point
from tests.crash.scenarios import SCENARIOS, WORKFLOWS, Scenario

CONDUCTOR = ("before", "inside", "after")
MOMENTS = {"role": ("taken", "done"), "long": ("half",)}  # of the others, by what was noted of them
ANY = [(role, "", moment) for role in ("scheduler", "compute", "network", "volume") for moment in MOMENTS["role"]]
ANY += [("compute", "", "half"), ("volume", "", "half")]


@dataclass(frozen=True)
class Case:
    """A scenario, and who dies when in it."""

    scenario: Scenario
    point: Point

    def __str__(self) -> str:
        return f"{self.scenario.name:28} {self.point.step or '(request)':18} {self.point.moment:7} {self.point.who:13}"


class FarLife:
    """A cloud in parts as scenarios speak to it."""

    def __init__(self, cloud: Parts) -> None:
        self.cloud = cloud
        self.lost = False  # a request that is not answered was done

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        done = (lambda: True) if self.lost and method != "GET" else None
        return self.cloud.client.ask(method, path, body, data=options.get("data"), done=done)

    def idle(self, within: float = 30.0) -> None:
        self.cloud.idle(within)

    def wait(self, condition: Callable[[], Any], *, within: float = 10.0) -> Any:
        return self.cloud.wait(condition, within=within)

    def break_verb(self, service: str, verb: str, why: str = "told to fail", times: int | None = None, host: str = HOST) -> None:
        self.cloud.break_verb(service, verb, why, times, host)

    def join(self, host: str) -> None:
        """The host's agents are there already: it takes servers from here on."""
        switch(self.cloud, host, status="enabled")

    @property
    def program(self) -> Any:
        return self.cloud.program


class FarStory:
    """What scenarios know: the cloud, its world, its image and network."""

    def __init__(self, cloud: Parts) -> None:
        self.cloud, self.life = cloud, FarLife(cloud)
        self.image, self.network, self.folder = cloud.image, cloud.network, cloud.folder

    @property
    def world(self) -> Any:
        return self.cloud.world

    def scribble(self, server_id: str) -> None:
        worlds.scribble(self.folder / "world", HOST, server_id)


def wipe(story: FarStory) -> None:
    """The host's machines are gone when its agent comes back."""
    for part in story.cloud.of("compute"):
        part.kill()
        worlds.wipe(story.folder / "world", HOST)
        part.start()
        part.ready()


def lose_host(story: FarStory) -> None:
    """The first host's compute agent is dead, and its server is evacuated.  (Its network agent lives: it may serve DHCP.)"""
    story.cloud.parts["compute1"].kill()
    evacuate(story)  # type: ignore[arg-type]


def host_returns(story: FarStory) -> None:
    """Once the server is elsewhere."""
    story.life.wait(lambda: not any(one.kind == "EvacuateServer" for one in story.cloud.works()), within=40)
    story.cloud.ready()


BEGINS: dict[str, Any] = {"HealServer": wipe, "EvacuateServer": lose_host}
RETURNS: dict[str, Any] = {"EvacuateServer": host_returns}
WITHOUT_REQUEST = {"HealServer", "DrainHost"}  # what begins these is no request


def shape(scenario: Scenario) -> Shape:
    """The cloud that the scenario needs."""
    moves = any(function.__module__.endswith("move_scenarios") for function in (scenario.begin, scenario.ends))
    return TWO_HOSTS if moves else ONE_HOST


def chosen(wanted: Shape, only: str = "", *, shard: int = 0, of: int = 1) -> list[Scenario]:
    """The scenarios for clouds of this shape, of that name, in that shard."""
    return [one for one in SCENARIOS[shard::of] if only in one.name and shape(one) is wanted]


def cases(scenarios: Sequence[Scenario], cloud: Callable[[], Parts] | None = None) -> Iterator[Case]:
    """All of them; with a cloud, only with the roles that take part in a step, which is found out by a run of each scenario."""
    for scenario in scenarios:
        taking = partakers(cloud(), scenario) if cloud is not None else {}
        for moment in ("before", "after"):
            if scenario.workflow not in WITHOUT_REQUEST:
                yield Case(scenario, Point(role="api", moment=moment))
        for step in WORKFLOWS[scenario.workflow][1].steps:
            for moment in CONDUCTOR:
                yield Case(scenario, Point(role="conductor", moment=moment, workflow=scenario.workflow, step=step.name))
            if step.kind == "effect":
                for role, host, moment in ANY if cloud is None else sorted(taking.get(step.name, ())):
                    yield Case(scenario, Point(role=role, moment=moment, workflow=scenario.workflow, step=step.name, host=host))


def partakers(cloud: Parts, scenario: Scenario) -> dict[str, set[tuple[str, str, str]]]:
    """Which roles are told something in which step, on which host where there are several, and the moments at which they can die."""
    story = FarStory(cloud)
    settle_hosts(cloud)
    scenario.before(story)  # type: ignore[arg-type]
    cloud.idle(30)
    cloud.points.note(True)
    BEGINS.get(scenario.workflow, scenario.begin)(story)
    RETURNS.get(scenario.workflow, nothing)(story)
    cloud.idle(30)
    found: dict[str, set[tuple[str, str, str]]] = {}
    step = ""
    for words in cloud.points.note(False):
        if words[0] == "step" and words[1] == scenario.workflow:
            step = words[2]
        elif words[0] in MOMENTS and step:
            host = words[2] if words[1] in AGENTS and len(cloud.shape.hosts) > 1 else ""
            found.setdefault(step, set()).update((words[1], host, moment) for moment in MOMENTS[words[0]])
    scenario.ends(story)  # type: ignore[arg-type]
    clean(cloud)
    return found


def settle_hosts(cloud: Parts) -> None:
    """Only the first host takes servers, and none is said to be down."""
    for host in cloud.shape.hosts if len(cloud.shape.hosts) > 1 else ():
        switch(cloud, host, status="enabled" if host == HOST else "disabled", forced_down=False)


def switch(cloud: Parts, host: str, **values: Any) -> None:
    """Say something of a host's compute service."""
    path = "/compute/v2.1/os-services"
    [service] = cloud.client.ask("GET", f"{path}?binary=nova-compute&host={host}")["services"]
    cloud.client.ask("PUT", f"{path}/{service['id']}", values)


@dataclass
class Outcome:
    """How a case ended: `wrong` "" is well; seconds from the death until all had settled."""

    case: Case
    seconds: float = 0.0
    took_part: bool = True
    wrong: str = ""

    def __str__(self) -> str:
        told = "took no part" if not self.took_part else f"settled after {self.seconds:5.2f} s" if not self.wrong else f"WRONG: {self.wrong}"
        return f"{self.case} {told}"


def run(cloud: Parts, case: Case) -> Outcome:
    """Play the scenario, have the process die, start it again, and look."""
    story, outcome = FarStory(cloud), Outcome(case)
    try:
        settle_hosts(cloud)
        case.scenario.before(story)  # type: ignore[arg-type]
        cloud.idle(30)
        cloud.points.arm(case.point)
        story.life.lost = (case.point.role, case.point.moment) == ("api", "after")
        try:
            BEGINS.get(case.scenario.workflow, case.scenario.begin)(story)
        except TypeError:
            if not story.life.lost:
                raise
            outcome.took_part = False  # the lost answer was needed for what comes next
        story.life.lost = False
        died = _death(cloud, case)
        outcome.took_part &= died != 0
        at = time.monotonic()
        for part in cloud.parts.values():
            if part.pid == died:
                revive(part)
        RETURNS.get(case.scenario.workflow, nothing)(story)
        audit.settled(cloud, within=40.0)
        outcome.seconds = time.monotonic() - at
        if case.point.role != "api" or outcome.took_part:
            case.scenario.ends(story)  # type: ignore[arg-type]
    except AssertionError as error:
        outcome.wrong = " | ".join(str(error).split("\n"))[:1500] or repr(error)
    finally:
        cloud.points.disarm()
        cloud.heal()
    return outcome


def _death(cloud: Parts, case: Case) -> int:
    """Who died; 0 when nobody took part."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        died = cloud.points.died()
        if died is not None:
            return died
        if case.point.role == "api" and not cloud.works():
            return 0
        if case.point.role not in ("api", "conductor") and cloud.points.armed() is None and not cloud.works():
            return cloud.points.died() or 0
        time.sleep(0.01)
    raise AssertionError(f"{case.scenario.workflow} never came to {case.point}; {[(one.kind, one.step) for one in cloud.works()]}")


def revive(part: Part) -> None:
    """Start a process again that has killed itself."""
    part.kill()
    part.deaths += 1
    part.start()


def clean(cloud: Parts) -> None:
    """Delete all that scenarios make; AssertionError when something stays."""
    cloud.heal()
    settle_hosts(cloud)
    ask = cloud.client.ask
    for path, key in (
        (SERVERS, "servers"), (f"{VOLUMES}/backups", "backups"), (f"{VOLUMES}/group_snapshots", "group_snapshots"),
        (f"{VOLUMES}/snapshots", "snapshots"),
    ):  # fmt: skip
        found = ask("GET", path)[key]
        for one in found:
            ask("DELETE", f"{path}/{one['id']}")
        if found:
            cloud.idle(40)
    for one in ask("GET", f"{VOLUMES}/groups")["groups"]:
        ask("POST", f"{VOLUMES}/groups/{one['id']}/action", {"delete": {"delete-volumes": True}})
    cloud.idle(40)
    for one in ask("GET", f"{VOLUMES}/group_types")["group_types"]:
        if one["name"] == "kind":
            ask("DELETE", f"{VOLUMES}/group_types/{one['id']}")
    for one in ask("GET", f"{VOLUMES}/volumes")["volumes"]:
        with suppress(AssertionError):
            ask("DELETE", f"{VOLUMES}/volumes/{one['id']}?cascade=true")
    for one in ask("GET", f"{NETWORK}/routers")["routers"]:
        for port in ask("GET", f"{NETWORK}/ports?device_id={one['id']}")["ports"]:
            ask("PUT", f"{NETWORK}/routers/{one['id']}/remove_router_interface", {"port_id": port["id"]})
        ask("DELETE", f"{NETWORK}/routers/{one['id']}")
    for one in ask("GET", f"{NETWORK}/ports")["ports"]:
        if not one["device_owner"].startswith("network:"):
            ask("DELETE", f"{NETWORK}/ports/{one['id']}")
    for one in ask("GET", f"{NETWORK}/networks")["networks"]:
        if one["id"] != cloud.network:
            ask("DELETE", f"{NETWORK}/networks/{one['id']}")
    for one in ask("GET", f"{NETWORK}/security-group-rules")["security_group_rules"]:
        if one["port_range_min"] == 4242:
            ask("DELETE", f"{NETWORK}/security-group-rules/{one['id']}")
    for one in ask("GET", IMAGES)["images"]:
        if one["id"] != cloud.image:
            ask("DELETE", f"{IMAGES}/{one['id']}")
    for one in ask("GET", "/compute/v2.1/os-aggregates")["aggregates"]:
        for host in one["hosts"]:
            ask("POST", f"/compute/v2.1/os-aggregates/{one['id']}/action", {"remove_host": {"host": host}})
        ask("DELETE", f"/compute/v2.1/os-aggregates/{one['id']}")
    cloud.idle(40)
    for host, world in cloud.world.hosts().items():
        assert not (world.machines or world.disks), f"on {host} stay {[*world.machines, *world.disks]}"
    left = ask("GET", f"{VOLUMES}/volumes")["volumes"]
    assert not left, f"volumes stay: {left}"


def sample(scenarios: Sequence[Scenario], dice: random.Random) -> Iterator[Case]:
    """Cases without end, at random, alike for one seed."""
    every = list(cases(scenarios))
    weights = [4 if one.point.role in ("conductor", "api") else 1 for one in every]  # of the others not all take part in each step
    while True:
        yield dice.choices(every, weights)[0]
