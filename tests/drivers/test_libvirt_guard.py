"""Another host may have libvirtd receive the machine that was agreed, and nothing else."""

from __future__ import annotations

import copy
import struct
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from pilvi.compute.drivers import Disk, ImageDisk, Machine, Nic, VolumeDisk
from pilvi.compute.drivers.libvirt import guard
from pilvi.compute.drivers.libvirt.elsewhere import there
from pilvi.compute.drivers.libvirt.places import Places
from pilvi.compute.drivers.libvirt.xml import Setting, domain_element
from pilvi.kernel.errors import HostError, Invalid

VOLUME = VolumeDisk(volume_id="v", kind="nbd", host="192.0.2.7", port=10809, export="v")
MACHINE = Machine(
    id=str(uuid.uuid4()),
    name="moving",
    vcpus=1,
    memory_mib=64,
    disks=[
        Disk(key="root", device="vda", source=ImageDisk(image_id="i", size_gib=1)),
        Disk(key="volume", device="vdb", source=VOLUME),
    ],
    nics=[Nic(key="port", mac="02:00:00:00:00:01", tap="tap1")],
    properties={"hw_qemu_guest_agent": "yes"},
)


def definition(folder: Path, host: str) -> ET.Element:
    """The machine as a host would define it."""
    places = Places(folder / host)
    try:
        return domain_element(MACHINE, Setting(host=host, virt_type="qemu", state_dir=places.state_dir), places)
    finally:
        places.short.unlink()


@pytest.fixture
def wish(tmp_path: Path) -> ET.Element:
    return definition(tmp_path, "target")


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def prepare(definition: ET.Element, cookie: str = "", *more: bytes) -> bytes:
    """The arguments by which libvirt says that a machine comes."""
    parameters = [string("destination_xml") + struct.pack(">I", 7) + string(ET.tostring(definition, encoding="unicode"))]
    parameters += [string("bandwidth") + struct.pack(">IQ", 4, 7), *more]
    return struct.pack(">I", len(parameters)) + b"".join(parameters) + string(cookie) + struct.pack(">I", 1)


def say(body: bytes, wish: ET.Element, procedure: int = guard.PREPARE) -> None:
    guard.check(guard.REMOTE, procedure, guard.CALL, body, wish)


def test_what_was_agreed_may_be_said(tmp_path: Path, wish: ET.Element) -> None:
    present = definition(tmp_path, "source")
    with pytest.raises(Invalid, match="not ready"):
        say(prepare(present), wish)
    moved = there(present, wish)
    for parent, text in (
        ("os", "<loader>/usr/share/OVMF/OVMF_CODE.fd</loader>"),
        ("os", f"<nvram>/var/lib/libvirt/qemu/nvram/{MACHINE.id}_VARS.fd</nvram>"),
        ("devices", "<emulator>/usr/bin/qemu-system-x86_64</emulator>"),
        (".", "<resource><partition>/machine</partition></resource>"),
    ):
        _with(parent, text)(moved)
    cookie = f"<qemu-migration>{ET.tostring(moved, encoding='unicode')}</qemu-migration>\0"
    say(prepare(moved, cookie), wish)
    say(prepare(moved, cookie), wish, guard.FINISH)
    for procedure in guard.HARMLESS:
        say(b"", wish, procedure)
    guard.check(guard.KEEPALIVE, 1, 2, b"", wish)


def _with(parent: str, text: str) -> Callable[[ET.Element], None]:
    def change(domain: ET.Element) -> None:
        place = domain if parent == "." else domain.find(parent)
        assert place is not None
        place.append(ET.fromstring(text))

    return change


def _set(path: str, name: str, value: str) -> Callable[[ET.Element], None]:
    def change(domain: ET.Element) -> None:
        element = domain.find(path)
        assert element is not None
        element.set(name, value)

    return change


def _other_id(domain: ET.Element) -> None:
    place = domain.find("uuid")
    assert place is not None
    place.text = str(uuid.uuid4())


HOSTILE = {
    "another machine": _other_id,
    "a file of the host": _set("devices/disk/source", "file", "/etc/shadow"),
    "another export": _set("devices/disk/source[@protocol]", "name", "other"),
    "a tap of another": _set("devices/interface/target", "dev", "tap2"),
    "one more disk": _with("devices", '<disk type="network"><source protocol="nbd" name="x"/><target dev="vdz" bus="virtio"/></disk>'),
    "a disk twice": _with(
        "devices", '<disk type="file" device="disk"><source file="x"/><target dev="vda" bus="virtio"/><alias name="ua-disk-root"/></disk>'
    ),
    "more devices": _with(".", "<devices/>"),
    "a device of the host": _with("devices", '<hostdev mode="subsystem" type="pci"/>'),
    "a folder of the host": _with("devices", '<filesystem type="mount"><source dir="/"/><target dir="x"/></filesystem>'),
    "another program": _with("devices", "<emulator>/bin/sh</emulator>"),
    "a kernel of the host": _with("os", "<kernel>/etc/passwd</kernel>"),
    "firmware from elsewhere": _with("os", "<loader>/usr/share/qemu/../../../etc/shadow</loader>"),
    "another's firmware": _with("os", "<nvram>/var/lib/libvirt/qemu/nvram/other_VARS.fd</nvram>"),
    "a log elsewhere": _set("devices/serial/log", "file", "/root/.profile"),
    "words for QEMU": _with(".", '<commandline xmlns="http://libvirt.org/schemas/domain/qemu/1.0"><arg value="-chardev"/></commandline>'),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("way", ["definition", "cookie"])
def test_what_was_not_agreed_may_not(wish: ET.Element, name: str, way: str) -> None:
    hostile = copy.deepcopy(wish)
    HOSTILE[name](hostile)
    cookie = f"<qemu-migration>{ET.tostring(hostile, encoding='unicode')}</qemu-migration>"
    body = prepare(hostile) if way == "definition" else prepare(wish, cookie)
    with pytest.raises(Invalid):
        say(body, wish)


@pytest.mark.parametrize(
    ("program", "procedure", "kind"),
    [(guard.REMOTE, 11, 0), (guard.REMOTE, 350, 0), (0x20008087, 1, 0), (guard.REMOTE, guard.PREPARE, 4), (guard.REMOTE, guard.OPEN, 3)],
)
def test_nothing_else_may_be_asked(wish: ET.Element, program: int, procedure: int, kind: int) -> None:
    with pytest.raises(Invalid, match="no part of a migration"):
        guard.check(program, procedure, kind, prepare(wish), wish)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xff\xff\xff",
        struct.pack(">I", 1) + string("destination_xml") + struct.pack(">II", 7, 1 << 30),
        struct.pack(">I", 1) + string("x") + struct.pack(">I", 99),
        struct.pack(">I", 0) + string(""),
    ],
)
def test_malformed_words_are_refused(wish: ET.Element, body: bytes) -> None:
    with pytest.raises((Invalid, struct.error, ET.ParseError)):
        say(body, wish)


def test_a_definition_said_twice_is_refused(wish: ET.Element) -> None:
    again = string("destination_xml") + struct.pack(">I", 7) + string("<domain/>")
    with pytest.raises(Invalid, match="twice"):
        say(prepare(wish, "", again), wish)
    with pytest.raises(Invalid, match="document type"):
        say(prepare(wish, '<!DOCTYPE x [<!ENTITY e "e">]><x/>'), wish)


def test_a_machine_with_more_than_is_awaited_does_not_leave(tmp_path: Path, wish: ET.Element) -> None:
    present = definition(tmp_path, "source")
    devices = wish.find("devices")
    assert devices is not None
    for volume in devices.findall("disk")[1:]:
        devices.remove(volume)
    with pytest.raises(HostError, match="volume plugged"):
        there(present, wish)
