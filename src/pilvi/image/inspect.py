"""Inspection of disk images: what a file is by its own headers, and a refusal of what could reach beyond the file.

Only the first MiB, the last KiB and, for VHDX, the metadata region are looked at, while the bytes pass by; nothing
is run and no other file is opened.  An image that names other files (backing files, external data, extents,
parents), that is encrypted inside its format, that is cut off or that looks like two formats at once is refused with
`Invalid`; whatever the bytes, no other error is raised.
"""

from __future__ import annotations

import os
import re
import struct
import uuid
from collections.abc import Callable

import msgspec

from pilvi.kernel.errors import Invalid

HEAD = 1 << 20
TAIL = 2048
SECTOR = 512
_LARGEST = 1 << 62
# formats whose bytes are the disk itself, under each name that an image may declare for them
_PLAIN = frozenset({"raw", "iso", "luks"})
_DECLARED_PLAIN = frozenset({"raw", "ami", "ari", "aki"})


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """What an image turned out to be.  Sizes in bytes; `format` is a disk format as images declare it."""

    format: str
    virtual_size: int
    actual_size: int

    def matches(self, disk_format: str) -> bool:
        """Whether the content agrees with the declared disk format."""
        if disk_format in _DECLARED_PLAIN:
            return self.format in _PLAIN
        return self.format == disk_format


class Inspector:
    """Inspects bytes as they pass: `feed` them in order, then `finish`."""

    def __init__(self) -> None:
        self._size = 0
        self._head = bytearray()
        self._tail = b""
        self._looked = False
        self._window: tuple[int, int] | None = None  # (offset, end) of a further region of interest
        self._further = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes.  Raises Invalid as soon as the headers show that the image is refused."""
        if len(self._head) < HEAD:
            self._head += data[: HEAD - len(self._head)]
        start, self._size = self._size, self._size + len(data)
        if not self._looked and len(self._head) == HEAD:
            self._look()
        if self._window:
            begin, end = self._window
            self._further += data[max(0, begin - start) : max(0, end - start)]
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]

    def finish(self) -> Inspected:
        """The verdict on the whole.  Raises Invalid with a sentence."""
        if not self._looked:
            self._look()
        image = _Image(bytes(self._head), self._tail, self._size)
        image.further = bytes(self._further)
        return _verdict(image)

    def _look(self) -> None:
        self._looked = True
        image = _Image(bytes(self._head), b"", None)
        found = _detect(image)
        if found == "vhdx":
            self._window = _vhdx_metadata(image)
        elif len(self._head) == HEAD and found in _FORMATS:
            _FORMATS[found](image)


def inspect_file(path: str | os.PathLike[str]) -> Inspected:
    """Inspect a file, reading no more of it than needed.  Raises Invalid; OSError when it cannot be read."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        image = _Image(file.read(HEAD), b"", size)
        file.seek(max(0, size - TAIL))
        image.tail = file.read(TAIL)
        if _detect(image) == "vhdx":
            begin, end = _vhdx_metadata(image)
            file.seek(min(begin, size))
            image.further = file.read(end - begin)
    return _verdict(image)


# -- from bytes to a verdict -----------------------------------------------------------------------


class _Image:
    """What is known of an image: its first and last bytes, a region further in, and, once it has ended, its size."""

    def __init__(self, head: bytes, tail: bytes, size: int | None) -> None:
        self.head, self.tail, self.size = head, tail, size
        self.further = b""

    def numbers(self, layout: str, offset: int, *, kind: str) -> tuple[int, ...]:
        return _numbers(self.head, layout, offset, kind=kind)


def _numbers(data: bytes, layout: str, offset: int, *, kind: str) -> tuple[int, ...]:
    if offset < 0 or offset + struct.calcsize(layout) > len(data):
        raise _cut_off(kind)
    return struct.unpack_from(layout, data, offset)


def _cut_off(kind: str) -> Invalid:
    return Invalid(f"The image is cut off: its {kind} structures reach beyond its end.")


def _verdict(image: _Image) -> Inspected:
    size = image.size or 0
    found = _detect(image)
    virtual = _FORMATS[found](image) if found in _FORMATS else size
    if not 0 <= virtual <= _LARGEST:
        raise Invalid(f"The image's {found} header says a size of {virtual} bytes, which no disk has.")
    return Inspected(format=found, virtual_size=virtual, actual_size=size)


def _detect(image: _Image) -> str:
    head, tail = image.head, image.tail
    found = [name for name, (offset, magic) in _MAGIC.items() if head[offset : offset + len(magic)] == magic]
    if head[0x8001:0x8006] in (b"CD001", b"BEA01"):
        found.append("iso")
    if head.startswith((b"WithoutFreeSpace", b"WithouFreSpacExt")):
        found.append("ploop")
    if "vhd" not in found and _is_vhd_footer(tail[-SECTOR:]):
        found.append("vhd")
    if head.startswith(b"COWD") or _is_vmdk_text(head):
        raise Invalid("The image is a VMDK descriptor of other files; upload a monolithicSparse or streamOptimized VMDK.")
    if "qed" in found:
        raise Invalid("QED images are not supported; convert the image to qcow2.")
    if len(found) > 1:
        raise Invalid(f"The image looks like {' and '.join(found)} at once; such files are refused.")
    return found[0] if found else "raw"


def _is_vmdk_text(head: bytes) -> bool:
    """Whether a reader that guesses formats would take the text for a VMDK descriptor."""
    for line in head[:10240].splitlines():
        if line.startswith(b"#") or not line.strip():
            continue
        return re.fullmatch(rb"version=\d+\s*", line) is not None
    return head.startswith(b"# Disk DescriptorFile")


# -- one function a format: checks it and answers its virtual size ---------------------------------------


def _qcow2(image: _Image) -> int:
    version, backing_offset, backing_size, bits, size, crypt, l1_entries, l1_offset, refcounts, refcount_clusters = image.numbers(
        ">IQIIQIIQQI", 4, kind="qcow2"
    )
    if version not in (2, 3):
        raise Invalid(f"The image is qcow version {version}; only qcow2 versions 2 and 3 are supported.")
    if backing_offset or backing_size:
        raise Invalid("The qcow2 image has a backing file; flatten it first (qemu-img convert).")
    if crypt:
        raise Invalid("The qcow2 image is encrypted; upload it unencrypted, or as luks.")
    if not 9 <= bits <= 21:
        raise Invalid(f"The qcow2 image has clusters of 2^{bits} bytes; 2^9 to 2^21 are possible.")
    if version == 3:
        incompatible, _, _, order, header = image.numbers(">QQQII", 72, kind="qcow2")
        if incompatible & 0b100:
            raise Invalid("The qcow2 image keeps its data in another file; flatten it first (qemu-img convert).")
        if incompatible & 0b10:
            raise Invalid("The qcow2 image is marked corrupt; repair it first (qemu-img check -r all).")
        if incompatible >> 5:
            raise Invalid(f"The qcow2 image needs features that are not known here (mask {incompatible:#x}).")
        if header < 104 or header % 8 or header > 1 << bits or order > 6:
            raise Invalid("The qcow2 image has a malformed header.")
        if incompatible & 0b1000 and (header < 112 or image.numbers("B", 104, kind="qcow2")[0] > 1):
            raise Invalid("The qcow2 image uses a compression that is not known here; zlib and zstd are.")
    tables = (l1_offset + 8 * l1_entries, refcounts + (refcount_clusters << bits) - (1 << bits) + 8)
    if l1_offset % (1 << bits) or refcounts % (1 << bits) or not l1_offset or not refcounts or not refcount_clusters:
        raise Invalid("The qcow2 image has a malformed header.")
    if image.size is not None and max(tables) > image.size:
        raise _cut_off("qcow2")
    return size


def _vmdk(image: _Image) -> int:
    version, _, capacity, _, text_offset, text_size, _, _, directory = image.numbers("<IIQQQQIQQ", 4, kind="VMDK")
    if version not in (1, 2, 3):
        raise Invalid(f"The VMDK image has version {version}; 1 to 3 are supported.")
    if not capacity or text_offset != 1 or not 0 < text_size < HEAD // SECTOR:
        raise Invalid("The VMDK image has no descriptor of its own; upload a monolithicSparse or streamOptimized VMDK.")
    region = image.head[SECTOR : SECTOR + max(text_size, 20) * SECTOR].split(b"\0", 1)[0]
    text = region.decode("latin-1")
    kind = re.search(r'^\s*createType\s*=\s*"?([^"\r\n]*)"?', text, re.MULTILINE | re.IGNORECASE)
    if not kind or kind[1].strip() not in ("monolithicSparse", "streamOptimized"):
        named = kind[1][:40] if kind else "unknown"
        raise Invalid(f"The VMDK image is of type {named!r}; only monolithicSparse and streamOptimized are supported.")
    parent = re.search(r"parentCID\s*=\s*(\w+)", text, re.IGNORECASE)
    if "parentfilenamehint" in text.lower() or (parent and parent[1].lower() != "ffffffff"):
        raise Invalid("The VMDK image has a parent; consolidate its snapshots first.")
    extents = [line for line in text.splitlines() if re.match(r"\s*(RW|RDONLY|NOACCESS)\b", line, re.IGNORECASE)]
    if len(extents) != 1 or not re.fullmatch(r'\s*(RW|RDONLY)\s+\d+\s+SPARSE\s+"[^"/\\]+"\s*', extents[0], re.IGNORECASE):
        raise Invalid("The VMDK image refers to other files; upload a monolithicSparse or streamOptimized VMDK of one file.")
    if directory == 0xFFFFFFFFFFFFFFFF and image.size is not None:
        footer = image.tail[-2 * SECTOR : -SECTOR]
        if len(footer) < SECTOR or footer[:4] != b"KDMV":
            raise _cut_off("VMDK")
        if _numbers(footer, "<Q", 12, kind="VMDK")[0] != capacity:
            raise Invalid("The VMDK image's header and footer disagree about its size.")
    return capacity * SECTOR


def _is_vhd_footer(footer: bytes) -> bool:
    if len(footer) < SECTOR or footer[:8] != b"conectix":
        return False
    (said,) = struct.unpack_from(">I", footer, 64)
    return said == ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF


def _vhd(image: _Image) -> int:
    footer = image.head[:SECTOR] if image.head.startswith(b"conectix") else image.tail[-SECTOR:]
    if len(footer) < SECTOR:
        raise _cut_off("VHD")
    (size,), (kind,) = _numbers(footer, ">Q", 48, kind="VHD"), _numbers(footer, ">I", 60, kind="VHD")
    if kind == 4:
        raise Invalid("The VHD image is a differencing disk with a parent; merge it with its parent first.")
    if kind not in (2, 3) or not _is_vhd_footer(footer):
        raise Invalid("The VHD image has a malformed footer.")
    if kind == 3 and image.size is not None and not _is_vhd_footer(image.tail[-SECTOR:]):
        raise _cut_off("VHD")
    return size


_VHDX_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_VHDX_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_VHDX_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_VHDX_PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le


def _vhdx_metadata(image: _Image) -> tuple[int, int]:
    """Where the metadata region begins and how far of it is looked at."""
    table = 192 << 10
    if image.head[table : table + 4] != b"regi":
        raise _cut_off("VHDX")
    (count,) = image.numbers("<I", table + 8, kind="VHDX")
    if count > 2047:
        raise Invalid("The VHDX image has a malformed region table.")
    for entry in range(table + 16, table + 16 + 32 * count, 32):
        if image.head[entry : entry + 16] == _VHDX_METADATA:
            offset, length = image.numbers("<QI", entry + 16, kind="VHDX")
            if offset % HEAD or not HEAD <= offset <= _LARGEST:
                break
            return offset, offset + min(length, HEAD)
    raise Invalid("The VHDX image has a malformed region table.")


def _vhdx(image: _Image) -> int:
    region = image.further
    if image.size is None:
        return 0
    if region[:8] != b"metadata":
        raise _cut_off("VHDX")
    (count,) = _numbers(region, "<H", 10, kind="VHDX")
    items = {region[at : at + 16]: _numbers(region, "<I", at + 16, kind="VHDX")[0] for at in range(32, 32 + 32 * count, 32)}
    if _VHDX_SIZE not in items or _VHDX_PARAMETERS not in items:
        raise Invalid("The VHDX image has malformed metadata.")
    (flags,) = _numbers(region, "<I", items[_VHDX_PARAMETERS] + 4, kind="VHDX")
    if flags & 2 or _VHDX_PARENT in items:
        raise Invalid("The VHDX image is a differencing disk with a parent; merge it with its parent first.")
    return _numbers(region, "<Q", items[_VHDX_SIZE], kind="VHDX")[0]


def _vdi(image: _Image) -> int:
    version, _, kind = image.numbers("<III", 0x44, kind="VDI")
    (size,) = image.numbers("<Q", 0x170, kind="VDI")
    image.numbers("<Q", 0x1C0, kind="VDI")
    if version != 0x00010001:
        raise Invalid(f"The VDI image has version {version >> 16}.{version & 0xFFFF}; 1.1 is supported.")
    if kind not in (1, 2) or any(image.head[0x1A8:0x1C8]):
        raise Invalid("The VDI image depends on another image; clone it to a full image first.")
    return size


def _ploop(image: _Image) -> int:
    version, *_, sectors = image.numbers("<IIIIIQ", 16, kind="ploop")
    if version != 2:
        raise Invalid(f"The ploop image has version {version}; 2 is supported.")
    if image.head.startswith(b"WithoutFreeSpace"):
        sectors &= 0xFFFFFFFF
    return sectors * SECTOR


def _luks(image: _Image) -> int:
    (version,) = image.numbers(">H", 6, kind="LUKS")
    if version not in (1, 2):
        raise Invalid(f"The LUKS image has version {version}; 1 and 2 are supported.")
    return image.size or 0


_MAGIC: dict[str, tuple[int, bytes]] = {
    "qcow2": (0, b"QFI\xfb"),
    "vmdk": (0, b"KDMV"),
    "vhd": (0, b"conectix"),
    "vhdx": (0, b"vhdxfile"),
    "vdi": (0x40, b"\x7f\x10\xda\xbe"),
    "qed": (0, b"QED\0"),
    "luks": (0, b"LUKS\xba\xbe"),
}
_FORMATS: dict[str, Callable[[_Image], int]] = {
    "qcow2": _qcow2,
    "vmdk": _vmdk,
    "vhd": _vhd,
    "vhdx": _vhdx,
    "vdi": _vdi,
    "ploop": _ploop,
    "luks": _luks,
}
