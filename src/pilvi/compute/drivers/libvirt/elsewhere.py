"""A running machine's definition as it must be at another host."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET

from pilvi.compute.drivers.libvirt import devices, marks
from pilvi.kernel.errors import HostError


def there(present: ET.Element, wish: ET.Element) -> ET.Element:
    """What a guest sees is as in `present`; files, sockets, taps and marks, which lie on the host, are those of `wish`.

    Raises HostError when a device is plugged that the wish does not know.
    """
    moved = copy.deepcopy(present)
    known = devices.plugged(wish)
    for alias, element in devices.plugged(moved).items():
        if alias not in known:
            key = alias.removeprefix(devices.DISK).removeprefix(devices.NIC)
            raise HostError(f"The machine has {key} plugged, for which the other host is not ready.", elsewhere=False)
        if element.tag == "interface":
            _take(element, known[alias], "target")
            continue
        element.set("type", known[alias].get("type", "file"))
        _take(element, known[alias], "source")
        for child in (*element.findall("backingStore"), *element.findall("mirror")):  # the target finds out by itself
            element.remove(child)
    for element in (*moved.iterfind("devices/serial"), *moved.iterfind("devices/console")):
        for name in ("source", "log"):
            if element.find(name) is not None:
                _take(element, wish.find("devices/serial"), name)
    for element in moved.iterfind("devices/graphics"):
        element.attrib.pop("socket", None)  # libvirt's older way of saying where it listens
        _take(element, wish.find("devices/graphics"), "listen")
    marks.move(moved, wish)
    return moved


def _take(element: ET.Element, wish: ET.Element | None, name: str) -> None:
    """Have the child of this name from the wish."""
    for child in element.findall(name):
        element.remove(child)
    if wish is not None:
        element.extend(copy.deepcopy(wish.findall(name)))
