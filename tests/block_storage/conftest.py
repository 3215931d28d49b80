"""A cloud with block storage alone, on a fake back end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilvi.block_storage.service import SERVICE
from pilvi.block_storage.settings import Settings
from pilvi.kernel.config import KernelSettings
from pilvi.kernel.testing.cloud import Cloud

AllSettings = msgspec.defstruct(
    "AllSettings", [("block_storage", Settings, msgspec.field(default_factory=Settings))], bases=(KernelSettings,), kw_only=True
)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    running = Cloud(tmp_path, [SERVICE], AllSettings, block_storage={"driver": "fake"}).start()
    yield running
    running.stop()


@pytest.fixture
def make(cloud: Cloud) -> Callable[..., dict[str, Any]]:
    """Create a volume and wait until it is available."""

    def work(*, person: str = "member", version: str = "volume 3.71", **fields: Any) -> dict[str, Any]:
        told = cloud.post("/volume/v3/volumes", {"volume": {"size": 1, **fields}}, person=person, version=version)
        assert told.status == 202, told
        return wait_for(cloud, "volumes", told.json()["volume"]["id"], "available")

    return work


def wait_for(cloud: Cloud, collection: str, ref: str, status: str, *, person: str = "admin") -> dict[str, Any]:
    """The thing, once it has that status."""
    seen: list[str] = []

    def look() -> dict[str, Any] | None:
        thing = show(cloud, collection, ref, person=person)
        seen.append(thing["status"])
        return thing if thing["status"] == status else None

    try:
        return cloud.wait(look)
    except AssertionError:
        raise AssertionError(f"{collection} {ref} is not {status}, it was {list(dict.fromkeys(seen))}") from None


def show(cloud: Cloud, collection: str, ref: str, *, person: str = "admin") -> dict[str, Any]:
    told = cloud.get(f"/volume/v3/{collection}/{ref}", person=person, version="volume 3.71")
    assert told.status == 200, told
    return told.json()[collection[:-1]]


def gone(cloud: Cloud, collection: str, ref: str) -> None:
    """Wait until the thing is not there any more."""
    cloud.wait(lambda: cloud.get(f"/volume/v3/{collection}/{ref}", person="admin").status == 404)


def backend(cloud: Cloud) -> Any:
    """The fake back end itself, to look at its world and switch its faults."""
    return cloud.program.parts["block_storage.driver"]
