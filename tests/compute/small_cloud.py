"""A cloud with one fake host: placement, network and compute; a token is a person's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pilvi.compute.service import SERVICE as COMPUTE
from pilvi.compute.settings import Settings as ComputeSettings
from pilvi.kernel.config import KernelSettings
from pilvi.kernel.testing.cloud import Cloud
from pilvi.network.service import SERVICE as NETWORK
from pilvi.network.settings import Settings as NetworkSettings
from pilvi.placement.service import SERVICE as PLACEMENT
from pilvi.placement.settings import Settings as PlacementSettings

SmallSettings = msgspec.defstruct(
    "SmallSettings",
    [
        ("placement", PlacementSettings, msgspec.field(default_factory=PlacementSettings)),
        ("network", NetworkSettings, msgspec.field(default_factory=NetworkSettings)),
        ("compute", ComputeSettings, msgspec.field(default_factory=ComputeSettings)),
    ],
    bases=(KernelSettings,), kw_only=True,
)  # fmt: skip


def small_cloud(state: Path, **compute: Any) -> Cloud:
    """A running cloud whose one host has reported."""
    cloud = Cloud(state, [PLACEMENT, NETWORK, COMPUTE], SmallSettings, network={"driver": "fake"}, compute={"driver": "fake", **compute}).start()
    cloud.wait(lambda: cloud.get("/compute/v2.1/os-hypervisors", person="admin").json()["hypervisors"])
    return cloud
