"""Making a machine be as wished: defined exactly so, in its power state, restarted only when that is the only way."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from typing import Any

from pilvi.compute.drivers import Machine, Seen
from pilvi.compute.drivers.libvirt import devices, marks
from pilvi.compute.drivers.libvirt.link import Link, library, parse
from pilvi.compute.drivers.libvirt.plugs import Plugs
from pilvi.kernel.errors import HostError


class Power:
    """Definition and power state of domains."""

    def __init__(self, link: Link, plugs: Plugs) -> None:
        self.link, self.plugs = link, plugs

    def ensure(self, machine: Machine, wish: ET.Element) -> None:
        """Make it so.  Each step leaves something that the next call goes on from."""
        domain = self.link.find(machine.id)
        # its sockets and log lie there, also when all its disks are volumes
        self.link.places.machine(machine.id).mkdir(mode=0o711, parents=True, exist_ok=True)
        with self.link.asking(f"make the machine {machine.power}"):
            if domain is not None and self._must_stop(domain, machine, wish):
                self.off(domain)
            if domain is not None and domain.isActive():
                self.plugs.sync(domain, wish)
            domain = self._define(domain, wish)
            restored = domain.hasManagedSaveImage()
            self._reach(domain, machine)
            if restored and domain.isActive():
                self.plugs.sync(domain, wish)

    def off(self, domain: Any) -> None:
        """Have no process and no saved state."""
        libvirt = library()
        if domain.isActive():
            try:
                domain.destroy()
            except libvirt.libvirtError:
                # either it went down by itself meanwhile, or a busy host needs longer than libvirt waits for the process
                if domain.isActive():
                    time.sleep(1)
                    domain.destroy()
        if domain.hasManagedSaveImage():
            domain.managedSaveRemove()

    def remove(self, domain: Any) -> None:
        """Have no domain."""
        libvirt = library()
        with self.link.asking("remove the machine"):
            self.off(domain)
            domain.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            )

    def _must_stop(self, domain: Any, machine: Machine, wish: ET.Element) -> bool:
        libvirt = library()
        active = domain.isActive()
        if not active and not domain.hasManagedSaveImage():
            return False
        if machine.power == "shutoff" or seen_power(domain) == "crashed":
            return True
        present = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE) if active else domain.managedSaveGetXMLDesc())
        found = marks.read(present)
        return found is None or found.reboots < machine.reboots or _differs_for_good(present, wish, found)

    def _define(self, domain: Any, wish: ET.Element) -> Any:
        if domain is None:
            return self.plugs.define(wish)
        libvirt = library()
        present = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
        found, wished = marks.read(present), marks.read(wish)
        if found is not None and wished is not None:
            if found.wish == wished.wish and _same_devices(present, wish):
                return domain
            if found.fixed == wished.fixed:
                devices.adopt_addresses(wish, parse(domain.XMLDesc(0)))
                devices.adopt_addresses(wish, present)
        return self.plugs.define(wish)

    def _reach(self, domain: Any, machine: Machine) -> None:
        libvirt = library()
        wished, now = machine.power, seen_power(domain)
        if now == wished or (wished == "shutoff" and now == "crashed"):
            return
        if wished == "suspended":
            if now in ("shutoff", "crashed"):
                raise HostError(f"Machine {machine.id} does not run, so it cannot be suspended.", elsewhere=False)
            domain.managedSave()
        elif now in ("shutoff", "crashed", "suspended"):
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if wished == "paused" else 0)
            if wished == "running" and seen_power(domain) == "paused":  # it was paused when it was suspended
                domain.resume()
        elif wished == "running":
            if domain.state()[0] == libvirt.VIR_DOMAIN_PMSUSPENDED:
                domain.pMWakeup()
            else:
                domain.resume()
        elif wished == "paused":
            domain.suspend()


def seen_power(domain: Any) -> Seen:
    """The power state of a domain."""
    libvirt = library()
    state, reason = domain.state()
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return "crashed"
    if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        return "paused"
    if state == libvirt.VIR_DOMAIN_PAUSED:
        # other reasons are moments of libvirt's own work
        lasting = {
            libvirt.VIR_DOMAIN_PAUSED_USER,
            libvirt.VIR_DOMAIN_PAUSED_IOERROR,
            libvirt.VIR_DOMAIN_PAUSED_WATCHDOG,
            libvirt.VIR_DOMAIN_PAUSED_UNKNOWN,
        }
        if reason == libvirt.VIR_DOMAIN_PAUSED_CRASHED:
            return "crashed"
        if reason == libvirt.VIR_DOMAIN_PAUSED_MIGRATION:
            # a machine that was restored without being let run keeps this reason when the restoring is over
            return "paused" if domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE else "running"
        return "paused" if reason in lasting else "running"
    if state in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_NOSTATE):
        if domain.hasManagedSaveImage():
            return "suspended"
        died = {libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_DAEMON}
        return "crashed" if reason in died else "shutoff"
    return "running"


def _differs_for_good(present: ET.Element, wish: ET.Element, found: marks.Marks) -> bool:
    """Whether something differs that cannot be changed while the machine runs."""
    wished = marks.read(wish)
    if wished is None or found.fixed != wished.fixed:
        return True
    now, then = devices.plugged(present), devices.plugged(wish)
    for alias in now.keys() | then.keys():
        one, other = now.get(alias), then.get(alias)
        if one is not None and other is not None and devices.same(one, other):
            continue
        root = alias == f"{devices.DISK}root" or any(_boots_first(element) for element in (one, other))
        if root or any(element is not None and devices.is_cold(element) for element in (one, other)):
            return True
    return False


def _boots_first(element: ET.Element | None) -> bool:
    boot = None if element is None else element.find("boot")
    return boot is not None and boot.get("order") == "1"


def _same_devices(present: ET.Element, wish: ET.Element) -> bool:
    now, then = devices.plugged(present), devices.plugged(wish)
    return now.keys() == then.keys() and all(devices.same(now[alias], then[alias]) for alias in now)
