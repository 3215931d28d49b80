"""A cloud with the network service alone, on a driver that only remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilvi.kernel.config import KernelSettings
from pilvi.kernel.testing.cloud import Cloud
from pilvi.network.drivers.fake import FakeWiring
from pilvi.network.service import SERVICE
from pilvi.network.settings import Settings

CloudSettings = msgspec.defstruct(
    "CloudSettings", [("network", Settings, msgspec.field(default_factory=Settings))], bases=(KernelSettings,), kw_only=True
)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    """Makes clouds on one state folder, so that a second one finds what the first left."""
    running: list[Cloud] = []

    def make(**settings: Any) -> Cloud:
        cloud = Cloud(tmp_path, [SERVICE], CloudSettings, network={"driver": "fake", **settings})
        running.append(cloud)
        return cloud

    yield make
    for cloud in running:
        cloud.stop()


@pytest.fixture
def cloud(build: Callable[..., Cloud]) -> Cloud:
    """A running cloud with one network host, node1."""
    return build().start()


@pytest.fixture
def wiring(cloud: Cloud) -> FakeWiring:
    """What lies on node1."""
    return cloud.program.parts["network.world"]["node1"]
