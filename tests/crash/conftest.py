"""A template of a cloud for each test process, and stories that begin as its copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.lives import Story, Template, make_template
from tests.crash.rig import Rig


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
