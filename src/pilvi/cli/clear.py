"""Clearing a machine of what a cloud has running on it: guests, libvirtd, volume daemon, networks, broker; the data stays."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pilvi import block_storage, network
from pilvi.cli.place import Place

if TYPE_CHECKING:
    from pilvi.kernel.program import Program


def clear(place: Place) -> None:
    """Stop all that the cloud of this place has started on this machine; the program itself has ended before."""
    from pilvi import program
    from pilvi.kernel.bus.local import LocalBus

    built = program.build(program.settings(place.state, place.config), bus=LocalBus())  # nobody is to be asked, or may be there
    built.run_dir = place.run_dir
    if built.settings.compute.driver == "libvirt":
        _machines(built)
    if built.settings.block_storage.driver == "file":
        _volumes(built)
    if built.settings.network.driver == "linux":
        _networks(built)
    if (built.state / "bus").is_dir():
        _broker(built)
    with contextlib.suppress(OSError):
        place.run_dir.rmdir()


def _broker(built: Program) -> None:
    from pilvi.kernel.bus.broker import Broker
    from pilvi.kernel.bus.names import AgentTopics

    Broker(built.settings.bus, built.state / "bus", AgentTopics()).stop()


def _machines(built: Program) -> None:
    from pilvi.compute.drivers.libvirt import LibvirtHypervisor
    from pilvi.compute.drivers.libvirt.libvirtd import Libvirtd

    daemon = Libvirtd(built.state / "libvirt", hostname=built.host, netns=network.namespace(built))
    if daemon.pid() is not None:
        shared = built.settings.compute.libvirt.shared_disks
        driver = LibvirtHypervisor(built.host, built.state / "compute", daemon.start(), fetch=lambda image_id, path: None, shared_disks=shared)
        driver.halt()
        driver.close()
    daemon.stop()


def _volumes(built: Program) -> None:
    from pilvi.block_storage.drivers.file import FileBackend

    FileBackend(built.host, built.state / "volumes", run_dir=built.run_dir).stop()
    block_storage.Ways(built.run_dir / "ways").stop()


def _networks(built: Program) -> None:
    from pilvi.network.drivers.linux import LinuxFabric

    settings, netns = built.settings.network, network.namespace(built)
    if LinuxFabric.has_been_here(netns):  # not if the cloud was one of fake drivers: then this host may have nothing that the real ones need
        LinuxFabric(
            built.host, built.state / "network", cloud=built.settings.region, netns=netns, bridge_mappings=settings.bridge_mappings
        ).purge()
