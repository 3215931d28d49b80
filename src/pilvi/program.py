"""The cloud put together: the only file that knows all services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pilvi import block_storage, compute, fleet, identity, image, network, placement
from pilvi.block_storage.drivers import DRIVERS as VOLUME_DRIVERS
from pilvi.block_storage.service import SERVICE as BLOCK_STORAGE
from pilvi.block_storage.settings import Settings as BlockStorageSettings
from pilvi.compute.drivers import DRIVERS as COMPUTE_DRIVERS
from pilvi.compute.service import SERVICE as COMPUTE
from pilvi.compute.settings import Settings as ComputeSettings
from pilvi.identity.service import SERVICE as IDENTITY
from pilvi.identity.settings import Settings as IdentitySettings
from pilvi.image.service import SERVICE as IMAGE
from pilvi.image.settings import Settings as ImageSettings
from pilvi.kernel.bus import Bus
from pilvi.kernel.config import KernelSettings, read
from pilvi.kernel.errors import Invalid
from pilvi.kernel.program import Program
from pilvi.kernel.service import Service
from pilvi.network.drivers import DRIVERS as NETWORK_DRIVERS
from pilvi.network.service import SERVICE as NETWORK
from pilvi.network.settings import Settings as NetworkSettings
from pilvi.placement.service import SERVICE as PLACEMENT
from pilvi.placement.settings import Settings as PlacementSettings

# from the bottom of the staircase to its top
SERVICES: list[Service] = [IDENTITY, PLACEMENT, IMAGE, NETWORK, BLOCK_STORAGE, COMPUTE]
DRIVERS = {"compute": COMPUTE_DRIVERS, "network": NETWORK_DRIVERS, "block_storage": VOLUME_DRIVERS}
BUS_PORT = 4222  # NATS' own
DOORS = (identity, placement, image, network, block_storage, compute)


class Settings(KernelSettings, kw_only=True, forbid_unknown_fields=True):
    """All settings: the kernel's, and a section for each service."""

    identity: IdentitySettings = msgspec.field(default_factory=IdentitySettings)
    placement: PlacementSettings = msgspec.field(default_factory=PlacementSettings)
    image: ImageSettings = msgspec.field(default_factory=ImageSettings)
    network: NetworkSettings = msgspec.field(default_factory=NetworkSettings)
    block_storage: BlockStorageSettings = msgspec.field(default_factory=BlockStorageSettings)
    compute: ComputeSettings = msgspec.field(default_factory=ComputeSettings)


def settings(state: Path, config: Path | None = None, environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """The settings of the cloud in that state folder; raises Invalid naming what is wrong, also a driver that there is not."""
    chosen = read(Settings, config or state / "pilvi.toml", environment, state=str(state), **given)
    for section, known in DRIVERS.items():
        driver = getattr(chosen, section).driver
        if driver not in known:
            raise Invalid(f"{section}.driver: there is no driver '{driver}'; there are {', '.join(sorted(known))}.", field=f"{section}.driver")
    return _addressed(chosen)


def _addressed(chosen: Settings) -> Settings:
    """The one address of a host that others reach, wherever no other is named."""
    address = chosen.address
    if not address:
        return chosen
    if chosen.api.bind == "127.0.0.1":
        chosen.api.bind = address
    if chosen.compute.address == "127.0.0.1":
        chosen.compute.address = address
    if chosen.network.tunnel_address == "127.0.0.1":
        chosen.network.tunnel_address = address
    chosen.block_storage.address = chosen.block_storage.address or address
    if chosen.bus.url == "local:" and not chosen.bus.serve:
        chosen.bus.serve = f"[{address}]:{BUS_PORT}" if ":" in address else f"{address}:{BUS_PORT}"
    return chosen


def build(chosen: Settings, *, services: Sequence[Service] = SERVICES, bus: Bus | None = None) -> Program:
    """The program, ready to be started."""
    program = Program(chosen, services, bus=bus)
    program.authenticate = lambda token: identity.authenticate(program, token)
    if chosen.compute.driver == "fake" and chosen.compute.fake.hosts:
        program.parts["compute.agents"] = fleet.begin
    return program
