"""Plugging and unplugging while a machine runs, and in the definition that outlives a restart."""

from __future__ import annotations

import copy
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from pilvi.compute.drivers.libvirt import devices
from pilvi.compute.drivers.libvirt.link import Link, library, parse
from pilvi.kernel.errors import HostError

UNPLUG_PATIENCE = 10.0  # seconds for each of the two requests


class Plugs:
    """Hot-plug by alias: the key of a device is part of the device, so nothing about it can be remembered wrongly."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def ensure(self, domain: Any, wish: ET.Element) -> None:
        """Have the device in the running machine, if it runs, and in its definition."""
        with self.link.asking("plug a device"):
            if domain.isActive():
                self._ensure_live(domain, wish)
            self.redefine(domain, lambda definition: _put(definition, wish))

    def remove(self, domain: Any, alias: str) -> None:
        """Have no device of this alias in the running machine, if it runs, nor in its definition."""
        with self.link.asking("unplug a device"):
            if domain.isActive():
                self._remove_live(domain, alias)
            self.redefine(domain, lambda definition: _take(definition, alias))

    def sync(self, domain: Any, wish: ET.Element) -> None:
        """Make the devices of a running machine those of the wish; the definition is the caller's."""
        with self.link.asking("plug a device"):
            present, wished = devices.plugged(_live(domain)), devices.plugged(wish)
            for alias, element in present.items():
                if alias not in wished or not devices.same(element, wished[alias]):
                    self._remove_live(domain, alias)
            for element in wished.values():
                self._ensure_live(domain, element)

    def redefine(self, domain: Any, change: Callable[[ET.Element], None]) -> None:
        """Change the definition that outlives a restart; devices keep the addresses that they have now."""
        libvirt = library()
        definition = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
        before = ET.tostring(definition)
        change(definition)
        if ET.tostring(definition) == before:
            return
        if domain.isActive():
            devices.adopt_addresses(definition, _live(domain))
        self.define(definition)

    def define(self, definition: ET.Element) -> Any:
        """Write a definition; when old bus addresses do not fit it any more, libvirt chooses all anew."""
        libvirt = library()
        connection = self.link.connection()
        try:
            return connection.defineXML(ET.tostring(definition, encoding="unicode"))
        except libvirt.libvirtError as error:
            freed = copy.deepcopy(definition)
            if "address" not in str(error).lower() or not _free_addresses(freed):
                raise
            return connection.defineXML(ET.tostring(freed, encoding="unicode"))

    def _ensure_live(self, domain: Any, wish: ET.Element) -> None:
        alias = devices.alias_of(wish)
        present = devices.plugged(_live(domain)).get(alias)
        if present is not None and devices.same(present, wish):
            return
        if devices.is_cold(wish):
            raise HostError(
                f"The disk {devices.target_of(wish)} cannot be plugged while the machine runs; stop the machine, or use virtio or scsi.",
                elsewhere=False,
            )
        if present is not None:
            self._remove_live(domain, alias)
        domain.attachDeviceFlags(ET.tostring(wish, encoding="unicode"), library().VIR_DOMAIN_AFFECT_LIVE)

    def _remove_live(self, domain: Any, alias: str) -> None:
        for _attempt in range(2):
            present = devices.plugged(_live(domain)).get(alias)
            if present is None:
                return
            if devices.is_cold(present):
                raise HostError(
                    f"The disk {devices.target_of(present)} cannot be unplugged while the machine runs; stop the machine first.",
                    elsewhere=False,
                )
            self._ask_to_let_go(domain, alias)
            if self._gone(domain, alias):
                return
        raise HostError(
            f"The guest did not let go of {alias.removeprefix(devices.DISK).removeprefix(devices.NIC)} within "
            f"{2 * UNPLUG_PATIENCE:.0f} s: it may be starting, hung, or have the disk mounted.  Unmount it, or stop the machine, "
            "and try again.",
            elsewhere=False,
        )

    def _ask_to_let_go(self, domain: Any, alias: str) -> None:
        libvirt = library()
        try:
            # by alias the call returns at once; the other way it would wait for the guest, for as long as libvirt likes
            domain.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except libvirt.libvirtError as error:
            already = error.get_error_code() == libvirt.VIR_ERR_DEVICE_MISSING or "in the process of unplug" in str(error)
            if not already:
                raise

    def _gone(self, domain: Any, alias: str) -> bool:
        until = time.monotonic() + UNPLUG_PATIENCE
        while True:
            if not domain.isActive() or alias not in devices.plugged(_live(domain)):
                return True
            if time.monotonic() > until:
                return False
            time.sleep(0.1)


def _live(domain: Any) -> ET.Element:
    return parse(domain.XMLDesc(library().VIR_DOMAIN_XML_SECURE))


def _put(definition: ET.Element, wish: ET.Element) -> None:
    present = devices.plugged(definition).get(devices.alias_of(wish))
    if present is not None and devices.same(present, wish):
        return
    _take(definition, devices.alias_of(wish))
    folder = definition.find("devices")
    if folder is not None:
        folder.append(copy.deepcopy(wish))


def _take(definition: ET.Element, alias: str) -> None:
    folder = definition.find("devices")
    present = devices.plugged(definition).get(alias)
    if folder is not None and present is not None:
        folder.remove(present)


def _free_addresses(definition: ET.Element) -> bool:
    """Drop the bus addresses of disks and cards; whether there was one."""
    freed = False
    for element in devices.plugged(definition).values():
        address = element.find("address")
        if address is not None:
            element.remove(address)
            freed = True
    return freed
