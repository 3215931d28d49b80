"""A template of a cloud for each test process, and stories that begin as its copies."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.lives import Story, Template, make_template
from tests.crash.rig import Rig

# many cases of one rule: $CRASH_SAMPLE=N plays N of them, $CRASH_SEED the same ones again
MANY = ("test_every_step.py", "test_failing_hosts.py", "test_delete_wins.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Play a sample of the cases when one is asked for: on a database server each costs seconds."""
    wanted = int(os.environ.get("CRASH_SAMPLE", "0"))
    many = [item for item in items if item.path.name in MANY]
    if not wanted or len(many) <= wanted:
        return
    seed = os.environ.setdefault("CRASH_SEED", str(random.randrange(1, 1 << 30)))  # all workers of a run must choose alike
    kept = set(random.Random(seed).sample([item.nodeid for item in many], wanted))
    dropped = [item for item in many if item.nodeid not in kept]
    items[:] = [item for item in items if item not in set(dropped)]
    config.hook.pytest_deselected(items=dropped)
    print(f"CRASH_SEED={seed}: {wanted} of {len(many)} cases")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def story(template: Template, tmp_path: Path) -> Iterator[Story]:
    made = Story(template, tmp_path / "cloud")
    yield made
    made.end()


@pytest.fixture
def new_story(template: Template, tmp_path: Path) -> Iterator[Callable[..., Story]]:
    """Make stories, each over a copy of its own."""
    made: list[Story] = []

    def make(**settings: object) -> Story:
        made.append(Story(template, tmp_path / f"cloud-{len(made)}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The database server and the broker of a module's clouds."""
    made = Rig(tmp_path_factory.mktemp("rig"))
    yield made
    made.close()


@pytest.fixture
def rig(servers: Rig) -> Iterator[Rig]:
    """The servers, without any cloud before and after."""
    yield servers
    for cloud in [*servers.clouds]:
        servers.end(cloud)
