"""A cloud of placement alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pilvi.kernel.config import KernelSettings
from pilvi.kernel.testing.cloud import Cloud
from pilvi.placement.service import SERVICE
from pilvi.placement.settings import Settings

TestSettings = msgspec.defstruct(
    "TestSettings", [("placement", Settings, msgspec.field(default_factory=Settings))], bases=(KernelSettings,), kw_only=True
)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path, [SERVICE], TestSettings, roles=["api"])
    made.start()
    yield made
    made.stop()
