"""What another host may say to this host's libvirtd: that one expected machine comes, made of what was agreed, and no more.

libvirt's own protocol is read on its way: frames of a length, a program, a procedure and XDR-coded arguments.  A host
that was taken over can thus neither rule this one's machines nor have a machine defined with files that are not its own.
"""

from __future__ import annotations

import asyncio
import logging
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from pilvi.compute.drivers.libvirt import devices, marks
from pilvi.kernel.errors import Invalid

log = logging.getLogger(__name__)

LONGEST = 1 << 20  # bytes of a frame
HEAD = struct.Struct(">IIIIIII")  # length with itself, program, version, procedure, type, serial, status
REMOTE, KEEPALIVE, CALL = 0x20008086, 0x6B656570, 0
OPEN, CLOSE, SUPPORTS_FEATURE, AUTH_LIST, PREPARE, FINISH = 1, 2, 60, 66, 303, 306
HARMLESS = {OPEN, CLOSE, SUPPORTS_FEATURE, AUTH_LIST}
# a typed parameter's type -> bytes of its value; strings are 7
SIZES = {1: 4, 2: 4, 3: 8, 4: 8, 5: 8, 6: 4}
STRING = 7
# devices beside disks and cards; they name no file, or one that the agreed definition names too
PLAIN = {
    "audio", "channel", "console", "controller", "disk", "emulator", "graphics", "input", "interface", "memballoon", "rng", "serial",
    "video", "watchdog",
}  # fmt: skip
# what libvirt itself writes into definitions: QEMU, firmware, the group of its processes
_OWN_PATH = re.compile(r"/usr/(bin/qemu-system-\w+|share/(OVMF|AAVMF|qemu|edk2)/(\w[\w.-]*/)*\w[\w.-]*)|/machine")
_VARIABLES = "/var/lib/libvirt/qemu/nvram/{}_VARS.fd"  # of a machine's own firmware


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wish: ET.Element) -> None:
    """Carry frames to libvirtd until the caller ends, or says what it may not."""
    while True:
        try:
            head = await reader.readexactly(HEAD.size)
        except asyncio.IncompleteReadError:
            return
        length, program, _version, procedure, kind, _serial, _status = HEAD.unpack(head)
        if not HEAD.size <= length <= LONGEST:
            log.warning("another host said to libvirt what is no message of its; it was cut off")
            return
        body = await reader.readexactly(length - HEAD.size)
        try:
            check(program, procedure, kind, body, wish)
        except (Invalid, ValueError, struct.error, ET.ParseError) as error:
            log.warning("another host said to libvirt what it may not, and was cut off: %s", error)
            return
        writer.write(head + body)
        await writer.drain()


def check(program: int, procedure: int, kind: int, body: bytes, wish: ET.Element) -> None:
    """Raise unless a migration of the machine of `wish` needs the message."""
    if program == KEEPALIVE:
        return
    if program != REMOTE or kind != CALL or procedure not in HARMLESS | {PREPARE, FINISH}:
        raise Invalid(f"procedure {procedure} of program {program:#x} is no part of a migration")
    if procedure in (PREPARE, FINISH):
        texts, rest = parameters(body)
        cookie, _ = _opaque(rest)
        if procedure == PREPARE:
            same_machine(_parse(texts.get("destination_xml", "")), wish)
        if cookie:
            # the definition that is to last is in it
            for definition in _parse(cookie.rstrip(b"\0").decode()).iter("domain"):
                same_machine(definition, wish)


def parameters(body: bytes) -> tuple[dict[str, str], bytes]:
    """The string parameters at the beginning of the arguments, and what follows all parameters."""
    (count,) = struct.unpack_from(">I", body)
    body, found = body[4:], {}
    for _ in range(count):
        name, body = _opaque(body)
        (kind,) = struct.unpack_from(">I", body)
        body = body[4:]
        if kind == STRING:
            text, body = _opaque(body)
            if name.decode() in found and name != b"migrate_disks":
                raise Invalid(f"{name!r} is said twice")
            found[name.decode()] = text.decode()
        elif kind in SIZES:
            body = body[SIZES[kind] :]
        else:
            raise Invalid(f"a parameter of the unknown type {kind}")
    return found, body


def same_machine(definition: ET.Element, wish: ET.Element) -> None:
    """Raise Invalid unless a definition names no file, device or network of this host but those of `wish`."""
    if definition.tag != "domain" or definition.get("type") != wish.get("type") or definition.findtext("uuid") != wish.findtext("uuid"):
        raise Invalid("The machine is not the expected one.")
    agreed = {*_paths(wish), _VARIABLES.format(wish.findtext("uuid"))}
    for path in _paths(definition):
        if path not in agreed and not _OWN_PATH.fullmatch(path):
            raise Invalid(f"The machine uses {path}, for which the other host is not ready.")
    for element in definition.iter():
        if element.tag.startswith("{") and not element.tag.startswith(f"{{{marks.NAMESPACE}}}"):
            raise Invalid(f"The machine has the part {element.tag}, for which the other host is not ready.")
    known, count = devices.plugged(wish), 0
    for element in definition.iterfind("devices/*"):
        if element.tag not in PLAIN:
            raise Invalid(f"The machine has a device of the kind {element.tag}, which cannot move.")
        if element.tag in ("disk", "interface"):
            count += 1
            other = known.get(devices.alias_of(element))
            if other is None or not devices.same(element, other):
                raise Invalid(f"The machine's {element.tag} {devices.target_of(element)} is not what the other host is ready for.")
    if count != len(devices.plugged(definition)) or len(definition.findall("devices")) != 1:
        raise Invalid("The machine has devices twice.")


def _paths(element: ET.Element) -> Iterator[str]:
    for part in element.iter():
        for text in (part.text, *part.attrib.values()):
            if text and text.strip().startswith("/"):
                yield text.strip()


def _parse(text: str) -> ET.Element:
    if "<!" in text.replace("<![CDATA[", ""):
        raise Invalid("a definition with a document type, or a comment")
    return ET.fromstring(text)  # noqa: S314


def _opaque(body: bytes) -> tuple[bytes, bytes]:
    """The string or opaque at the beginning, and what follows: a length, the bytes, and bytes that fill up to four."""
    (length,) = struct.unpack_from(">I", body)
    if length > len(body) - 4:
        raise Invalid("an argument that is cut off")
    return body[4 : 4 + length], body[4 + length + -length % 4 :]
