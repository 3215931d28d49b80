"""Inspection of images: samples made by qemu-img are told apart, dangerous ones refused, garbage harmless."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pilvi.image.inspect import Inspected, Inspector, inspect_file
from pilvi.kernel.errors import Invalid

MIB = 1 << 20
OPTIONS = {
    "raw": [],
    "qcow2": [],
    "qcow2 old": ["-o", "compat=0.10"],
    "qcow2 zstd": ["-o", "compression_type=zstd,extended_l2=on"],
    "vmdk": [],
    "vmdk stream": ["-o", "subformat=streamOptimized"],
    "vmdk flat": ["-o", "subformat=monolithicFlat"],
    "vmdk split": ["-o", "subformat=twoGbMaxExtentSparse"],
    "vpc": [],
    "vpc fixed": ["-o", "subformat=fixed"],
    "vhdx": [],
    "vdi": [],
    "qed": [],
    "qcow": [],
    "parallels": [],
}


def qemu_img(*words: object) -> str:
    return subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("samples")
    made = {}
    for name, options in OPTIONS.items():
        made[name] = folder / name.replace(" ", "-")
        qemu_img("create", "-q", "-f", name.split()[0], *options, made[name], "20M")
    data = folder / "data"
    data.write_bytes(bytes(3 * MIB) + b"\xabsome data\xcd" * 100_000)
    made["vmdk filled"] = folder / "filled.vmdk"
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", data, made["vmdk filled"])
    made["backed"] = folder / "backed"
    qemu_img("create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", made["backed"], "1M")
    made["external"] = folder / "external"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={folder / 'elsewhere'}", made["external"], "1M")
    return made


def streamed(data: bytes, step: int) -> Inspected:
    inspector = Inspector()
    for at in range(0, len(data), step):
        inspector.feed(data[at : at + step])
    return inspector.finish()


@pytest.mark.parametrize(
    ("sample", "format"),
    [
        ("raw", "raw"),
        ("qcow2", "qcow2"),
        ("qcow2 old", "qcow2"),
        ("qcow2 zstd", "qcow2"),
        ("vmdk", "vmdk"),
        ("vmdk stream", "vmdk"),
        ("vmdk filled", "vmdk"),
        ("vpc", "vhd"),
        ("vpc fixed", "vhd"),
        ("vhdx", "vhdx"),
        ("vdi", "vdi"),
        ("parallels", "ploop"),
    ],
)
def test_samples_are_told_apart_as_qemu_img_does(samples: dict[str, Path], sample: str, format: str) -> None:
    path = samples[sample]
    seen = inspect_file(path)
    theirs = json.loads(qemu_img("info", "--output=json", "-f", "vmdk" if sample == "vmdk filled" else sample.split()[0], path))
    assert seen == Inspected(format=format, virtual_size=theirs["virtual-size"], actual_size=path.stat().st_size)
    assert seen.matches(format) and not seen.matches("iso")
    assert seen.matches("ami") == seen.matches("raw") == (format == "raw")
    data = path.read_bytes()
    assert streamed(data, 1000_003) == streamed(data, 65536) == streamed(data, len(data)) == seen


def test_a_luks_container_is_luks_and_may_be_called_raw() -> None:
    for version in (1, 2):
        seen = streamed(b"LUKS\xba\xbe" + version.to_bytes(2, "big") + bytes(MIB), 4096)
        assert (seen.format, seen.virtual_size) == ("luks", MIB + 8)
        assert seen.matches("luks") and seen.matches("raw") and not seen.matches("qcow2")
    with pytest.raises(Invalid, match="version 9"):
        streamed(b"LUKS\xba\xbe\0\x09" + bytes(100), 4096)


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        ("backed", "backing file"),
        ("external", "another file"),
        ("vmdk flat", "other files"),
        ("vmdk split", "other files"),
        ("qed", "not supported"),
        ("qcow", "version 1"),
    ],
)
def test_what_reaches_beyond_the_file_is_refused(samples: dict[str, Path], sample: str, why: str) -> None:
    data = samples[sample].read_bytes()
    for inspect in (lambda: inspect_file(samples[sample]), lambda: streamed(data, 4096)):
        with pytest.raises(Invalid, match=why):
            inspect()


def patched(data: bytes, *changes: tuple[int, bytes]) -> bytes:
    out = bytearray(data)
    for offset, new in changes:
        out[offset : offset + len(new)] = new
    return bytes(out)


@pytest.mark.parametrize(
    ("sample", "changes", "why"),
    [
        ("qcow2", [(72, b"\0\0\0\0\0\0\0\x40")], "features"),
        ("qcow2", [(72, b"\0\0\0\0\0\0\0\x02")], "corrupt"),
        ("qcow2", [(32, b"\0\0\0\2")], "encrypted"),
        ("qcow2", [(20, b"\0\0\0\x1f")], "clusters"),
        ("qcow2", [(100, b"\xff\xff\xff\xf8")], "malformed"),
        ("qcow2", [(36, b"\x7f\xff\xff\xff")], "cut off"),
        ("qcow2", [(24, b"\xff" * 8)], "no disk has"),
        ("qcow2", [(0x8001, b"CD001")], "at once"),
        ("vmdk", [(12, bytes(8))], "no descriptor of its own"),
        ("vmdk", [(28, b"\x09")], "no descriptor of its own"),
        ("vdi", [(0x4C, b"\x04")], "another image"),
        ("vdi", [(0x1A8, b"\x04")], "another image"),
        ("vpc", [(60, b"\0\0\0\x04")], "parent"),
    ],
)
def test_hostile_headers_are_refused(
    samples: dict[str, Path], sample: str, changes: list[tuple[int, bytes]], why: str
) -> None:
    with pytest.raises(Invalid, match=why):
        streamed(patched(samples[sample].read_bytes(), *changes), 100_000)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"monolithicSparse", b"monolithicFlat", "type 'monolithicFlat'"),
        (b'SPARSE "vmdk"', b'SPARSE "../x"', "other files"),
        (b'SPARSE "vmdk"', b'FLAT "vmdk" 0', "other files"),
        (b"parentCID=ffffffff", b"parentCID=12345678", "parent"),
        (b"ddb.adapterType", b'parentFileNameHint="/etc/passwd"\n', "parent"),
        (b"ddb.adapterType", b'RW 1 SPARSE "more"\n', "other files"),
    ],
)
def test_hostile_vmdk_descriptors_are_refused(samples: dict[str, Path], old: bytes, new: bytes, why: str) -> None:
    data = samples["vmdk"].read_bytes()
    assert old in data[:4096]
    at = data.index(old)
    text_end = 512 + 20 * 512
    rest = data[at + len(old) : text_end]
    changed = (data[:at] + new + rest)[:text_end].ljust(text_end, b"\0") + data[text_end:]
    with pytest.raises(Invalid, match=why):
        streamed(changed, 100_000)


def test_a_vmdk_whose_footer_says_another_size_is_refused(samples: dict[str, Path]) -> None:
    data = patched(samples["vmdk stream"].read_bytes(), (56, b"\xff" * 8))
    agreeing = data + bytes(512) + data[:512] + bytes(512)
    assert streamed(agreeing, 4096).virtual_size == 20 * MIB
    with pytest.raises(Invalid, match="disagree"):
        streamed(patched(agreeing, (len(agreeing) - 1024 + 12, b"\xff\xff")), 4096)
    with pytest.raises(Invalid, match="cut off"):
        streamed(agreeing[:-512], 4096)


def test_a_vhdx_with_a_parent_is_refused(samples: dict[str, Path]) -> None:
    data = samples["vhdx"].read_bytes()
    metadata = data.index(b"metadata\0\0")
    parameters = int.from_bytes(data[metadata + 32 + 16 : metadata + 32 + 20], "little")
    with pytest.raises(Invalid, match="parent"):
        streamed(patched(data, (metadata + parameters + 4, b"\x02")), MIB // 3)


@pytest.mark.parametrize("sample", ["qcow2", "vmdk stream", "vpc", "vhdx", "vdi", "parallels"])
def test_cut_off_files_raise_only_invalid(
    samples: dict[str, Path], sample: str
) -> None:
    data = samples[sample].read_bytes()
    for length in (1, 5, 8, 40, 72, 100, 511, 600, 70_000, 200_000, len(data) - 1):
        try:
            streamed(data[:length], 100_000)
        except Invalid:
            pass


def test_an_iso_is_an_iso_and_empty_is_raw() -> None:
    iso = patched(bytes(MIB), (0x8001, b"CD001"), (510, b"\x55\xaa"))
    assert streamed(iso, 4096).matches("iso") and streamed(iso, 4096).matches("raw")
    assert Inspector().finish() == Inspected(format="raw", virtual_size=0, actual_size=0)


MAGICS = [b"QFI\xfb", b"KDMV", b"conectix", b"vhdxfile", b"QED\0", b"LUKS\xba\xbe", b"WithoutFreeSpace", b"# Disk", b"COWD", b""]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=2000), st.integers(1, 3000))
def test_random_bytes_raise_nothing_but_invalid(magic: bytes, rest: bytes, step: int) -> None:
    try:
        streamed(magic + rest, step)
    except Invalid as refused:
        assert refused.message.endswith(".")


@settings(max_examples=200, deadline=None)
@example("vhdx", [(32, b"\xff" * 7)], 0, 192 << 10)
@given(
    st.sampled_from(["qcow2", "vmdk", "vmdk stream", "vpc", "vhdx", "vdi", "parallels"]),
    st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=9)), max_size=4),
    st.integers(0, 1_000_000),
    st.sampled_from([0, 192 << 10, 2 << 20]),
)
def test_damaged_headers_raise_nothing_but_invalid(
    samples: dict[str, Path], sample: str, damage: list[tuple[int, bytes]], cut: int, where: int
) -> None:
    data = patched(samples[sample].read_bytes()[: 4 * MIB - cut], *((where + at, new) for at, new in damage))
    try:
        streamed(data, 500_000)
    except Invalid as refused:
        assert refused.message.endswith(".")
