"""A cloud with the small service of `things.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.kernel.testing.cloud import Cloud
from tests.kernel import things


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    things.WORLD.clear()
    things.TROUBLE.clear()
    running = Cloud(tmp_path, [things.SERVICE], things.Settings).start()
    yield running
    running.stop()
