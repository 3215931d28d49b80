"""A cloud of image alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilvi.image.service import SERVICE
from pilvi.image.settings import Settings
from pilvi.kernel.config import KernelSettings
from pilvi.kernel.testing.cloud import Cloud

TestSettings = msgspec.defstruct(
    "TestSettings", [("image", Settings, msgspec.field(default_factory=Settings))], bases=(KernelSettings,), kw_only=True
)


@pytest.fixture
def make_cloud(tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    """Clouds over one state folder, each with its own settings of image."""
    made: list[Cloud] = []

    def make(**settings: Any) -> Cloud:
        cloud = Cloud(tmp_path, [SERVICE], TestSettings, image=settings)
        cloud.start()
        made.append(cloud)
        return cloud

    yield make
    for cloud in made:
        cloud.stop()


@pytest.fixture
def cloud(make_cloud: Callable[..., Cloud]) -> Cloud:
    return make_cloud()
