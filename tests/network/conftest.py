"""A cloud with the network service alone, on a driver that only remembers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pilvi.kernel.config import KernelSettings
from pilvi.kernel.testing.cloud import Cloud
from pilvi.network.service import SERVICE
from pilvi.network.settings import Settings

CloudSettings = msgspec.defstruct(
    "CloudSettings", [("network", Settings, msgspec.field(default_factory=Settings))], bases=(KernelSettings,), kw_only=True
)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A running cloud with one network host."""
    running = Cloud(tmp_path, [SERVICE], CloudSettings, network={"driver": "fake"}).start()
    yield running
    running.stop()
