"""Reading ELF files: which shared libraries a program needs, and what a kernel module says of itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_DYNAMIC, _NOTHING_MORE, _NEEDED = 6, 0, 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")


def _sections(data: bytes) -> list[tuple[int, ...]]:
    """The section headers of a 64-bit little-endian ELF file; none when it is something else."""
    if data[:6] != b"\x7fELF\x02\x01":
        return []
    header = _HEADER.unpack_from(data)
    offset, count = header[6], header[12]
    return [_SECTION.unpack_from(data, offset + index * _SECTION.size) for index in range(count)]


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()


def needed_libraries(data: bytes) -> list[str]:
    """The names of the shared libraries that a program or a library asks for."""
    sections = _sections(data)
    names: list[str] = []
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind != _DYNAMIC:
            continue
        strings = sections[link][4]
        for tag, value in struct.iter_unpack("<qQ", data[offset : offset + size]):
            if tag == _NOTHING_MORE:
                break
            if tag == _NEEDED:
                names.append(_text(data, strings + value))
    return names


def module_facts(data: bytes) -> Iterator[tuple[str, str]]:
    """The pairs of a kernel module's .modinfo section: ("depends", "a,b"), ("alias", "pci:..."), ..."""
    sections = _sections(data)
    if not sections:
        return
    names = sections[_HEADER.unpack_from(data)[13]][4]
    for name, _, _, _, offset, size, *_ in sections:
        if _text(data, names + name) != ".modinfo":
            continue
        for entry in data[offset : offset + size].split(b"\0"):
            key, equals, value = entry.partition(b"=")
            if equals:
                yield key.decode(), value.decode(errors="replace")
