"""Flat copies of a machine's root disk, as it was at the first asking, made beside the running guest.

A running machine is copied by QEMU's own backup job: what the guest overwrites is copied first, nothing about its
disks changes, and the job goes on when Pilvi dies; asked again, it is found and waited for.  A machine that is off
is copied by qemu-img.
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from pilvi.compute.drivers.libvirt import devices
from pilvi.compute.drivers.libvirt.images import convert
from pilvi.compute.drivers.libvirt.jobs import Jobs, Report
from pilvi.compute.drivers.libvirt.link import Link, library, parse
from pilvi.compute.drivers.libvirt.places import Places, checked_id, settle
from pilvi.kernel.errors import HostError, Invalid
from pilvi.kernel.progress import DONE, Progress

FORMATS = {"qcow2": "qcow2", "raw": "raw", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}
DIRECT = {"qcow2", "raw"}  # a backup job writes these itself


class Snapshots:
    """The snapshots of a host's machines."""

    def __init__(self, places: Places, link: Link, jobs: Jobs) -> None:
        self.places, self.link, self.jobs = places, link, jobs

    def ensure(self, machine_id: str, snapshot_id: str, disk_format: str) -> Progress:
        if disk_format not in FORMATS:
            raise Invalid(f"A snapshot cannot be of the format {disk_format}; choose {', '.join(FORMATS)}.")
        if self.places.snapshot(snapshot_id).exists():
            return DONE
        subject = self.subject(machine_id)
        return self.jobs.ask(f"{subject} {snapshot_id}", lambda report: self._take(machine_id, snapshot_id, disk_format, report))

    def subject(self, machine_id: str) -> str:
        return f"snapshot {checked_id(machine_id)}"

    def remove(self, snapshot_id: str) -> None:
        """Have no file of the snapshot, and no job that would write it."""
        part = self.places.snapshot_part(snapshot_id)
        if part.exists():
            for domain, definition in self.link.ours():
                if definition.get("id") and backup_target(domain) == str(part):
                    with self.link.asking("end a snapshot"):
                        domain.abortJob()
        for path in (part, _second(part), self.places.snapshot(snapshot_id)):
            path.unlink(missing_ok=True)

    def _take(self, machine_id: str, snapshot_id: str, disk_format: str, report: Report) -> None:
        part, final = self.places.snapshot_part(snapshot_id), self.places.snapshot(snapshot_id)
        if final.exists():
            return
        domain = self.link.need(machine_id)
        with self.link.asking("take a snapshot"):
            # a job that ended unseen may have been cut off, so its file counts for nothing
            if domain.isActive():
                self._by_backup(domain, part, disk_format if disk_format in DIRECT else "qcow2", report)
                if disk_format not in DIRECT:
                    second = _second(part)
                    second.unlink(missing_ok=True)
                    convert(part, "qcow2", second, FORMATS[disk_format])
                    second.replace(part)
            else:
                part.unlink(missing_ok=True)
                root = _root(parse(domain.XMLDesc(0)))
                convert(_file(root), _format(root), part, FORMATS[disk_format])
        settle(part, final)

    def _by_backup(self, domain: Any, part: Path, form: str, report: Report) -> None:
        libvirt = library()
        while (target := backup_target(domain)) not in ("", str(part)):  # another snapshot of this machine
            time.sleep(0.5)
        if not target:
            part.unlink(missing_ok=True)
            domain.backupBegin(_backup(parse(domain.XMLDesc(0)), part, form), None, 0)
        while True:
            stats = domain.jobStats()
            if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
                break
            if total := stats.get("disk_total"):
                report(min(99, 100 * stats.get("disk_processed", 0) // total))
            time.sleep(0.2)
        ended = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        good = ended.get("type") == libvirt.VIR_DOMAIN_JOB_COMPLETED and ended.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP
        if not good or not part.exists():
            why = ended.get("errmsg") or "the machine stopped meanwhile, or the job was ended"
            raise HostError(f"The copy of the machine's disk was cut off: {why}; try again.", elsewhere=False)


def backup_target(domain: Any) -> str:
    """The file that a backup job of the domain writes now; empty when there is no job."""
    libvirt = library()
    try:
        found = parse(domain.backupGetXMLDesc()).find("disks/disk/target")
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_BACKUP, libvirt.VIR_ERR_OPERATION_INVALID):
            return ""
        raise
    return "" if found is None else found.get("file", "")


def _backup(definition: ET.Element, part: Path, form: str) -> str:
    root = _root(definition)
    backup = ET.Element("domainbackup", mode="push")
    disks = ET.SubElement(backup, "disks")
    chosen = ET.SubElement(disks, "disk", name=devices.target_of(root), backup="yes", type="file")
    ET.SubElement(chosen, "driver", type=form)
    ET.SubElement(chosen, "target", file=str(part))
    for other in definition.iterfind("devices/disk"):
        if other is not root:
            ET.SubElement(disks, "disk", name=devices.target_of(other), backup="no")
    return ET.tostring(backup, encoding="unicode")


def _root(definition: ET.Element) -> ET.Element:
    root = devices.plugged(definition).get(f"{devices.DISK}root")
    if root is None or root.get("type") != "file":
        raise HostError("The machine has no local root disk; take a snapshot of its volume instead.", elsewhere=False)
    return root


def _file(root: ET.Element) -> Path:
    source = root.find("source")
    return Path("" if source is None else source.get("file", ""))


def _format(root: ET.Element) -> str:
    driver = root.find("driver")
    return "raw" if driver is None else driver.get("type", "raw")


def _second(part: Path) -> Path:
    return part.with_name(f"{part.name}.converted")
