"""What Pilvi writes about a machine into its domain: the marks by which it knows its own after a restart."""

from __future__ import annotations

import copy
import hashlib
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec

from pilvi.compute.drivers import Machine

NAMESPACE = "urn:pilvi:machine"
TAG = f"{{{NAMESPACE}}}machine"
ET.register_namespace("pilvi", NAMESPACE)

# the image properties and extra specs that shape the virtual hardware; a change of another one restarts nothing
HONOURED = (
    "hw_boot_menu",
    "hw_cpu_cores",
    "hw_cpu_sockets",
    "hw_cpu_threads",
    "hw:cpu_cores",
    "hw:cpu_sockets",
    "hw:cpu_threads",
    "hw_firmware_type",
    "hw_machine_type",
    "hw_pointer_model",
    "hw_qemu_guest_agent",
    "hw_scsi_model",
    "hw_video_model",
    "hw_watchdog_action",
    "hw:watchdog_action",
    "os_type",
)
# what XML 1.0 cannot hold
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """What the marks say: whose machine it is, the last hard reboot done, and digests of the wish."""

    state: str  # the state directory that the machine belongs to
    host: str
    reboots: int = 0
    fixed: str = ""  # digest of what can change only by a restart, beside the root disk
    wish: str = ""  # digest of the whole definition as it was written


def writable(text: str) -> str:
    """The text without characters that XML cannot hold, on one line."""
    return _UNWRITABLE.sub("", text).replace("\n", " ").replace("\r", " ").replace("\t", " ").strip()


def fixed_digest(machine: Machine) -> str:
    """Digest of the parts of a wish that can change only by a restart."""
    shape = [
        machine.vcpus,
        machine.memory_mib,
        machine.serial_console,
        [(name, machine.properties[name]) for name in HONOURED if name in machine.properties],
    ]
    return hashlib.sha256(msgspec.json.encode(shape)).hexdigest()[:32]


def write(metadata: ET.Element, machine: Machine, state_dir: Path, host: str) -> ET.Element:
    """Add the marks of a machine to a domain's <metadata>; the digest of the whole is set last, by `seal`."""
    marks = ET.SubElement(
        metadata, TAG, state=str(state_dir), host=host, reboots=str(machine.reboots), fixed=fixed_digest(machine)
    )
    facts = {
        "name": machine.name,
        "flavor": machine.flavor,
        "user": machine.user,
        "project": machine.project,
        "created": machine.created_at,
    }
    for name, value in facts.items():
        ET.SubElement(marks, f"{{{NAMESPACE}}}{name}").text = writable(value)
    return marks


def seal(domain: ET.Element) -> None:
    """Note the digest of a finished definition in its marks."""
    digest = hashlib.sha256(ET.tostring(domain)).hexdigest()[:32]
    for marks in domain.iter(TAG):
        marks.set("wish", digest)


def read(domain: ET.Element) -> Marks | None:
    """The marks of a domain; None for one that is not Pilvi's."""
    marks = domain.find(f"metadata/{TAG}")
    if marks is None:
        return None
    reboots = marks.get("reboots", "0")
    return Marks(
        state=marks.get("state", ""),
        host=marks.get("host", ""),
        reboots=int(reboots) if reboots.isdigit() else 0,
        fixed=marks.get("fixed", ""),
        wish=marks.get("wish", ""),
    )


def move(domain: ET.Element, wish: ET.Element) -> None:
    """Put the marks of a wish on a domain that runs elsewhere still; what it was started with stays noted."""
    before, after = domain.find(f"metadata/{TAG}"), wish.find(f"metadata/{TAG}")
    folder = domain.find("metadata")
    if before is None or after is None or folder is None:
        return
    moved = copy.deepcopy(after)
    for name in ("reboots", "fixed"):
        moved.set(name, before.get(name, ""))
    if before.get("fixed") != after.get("fixed"):
        moved.set("wish", "")  # so that the definition is held against the wish, and written again
    folder.remove(before)
    folder.append(moved)
