"""What another host sends as a disk is taken as from a stranger: whole, in order, and standing on nothing but what we say."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest

from pilvi.compute.drivers.libvirt.offers import HEAD, PIECE, adopt, receive
from pilvi.kernel.errors import HostError, Invalid


def qemu_img(*arguments: str) -> str:
    return subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, text=True).stdout


def pieces(*parts: tuple[int, bytes], end: int | None = None) -> io.BytesIO:
    """A file as it is sent."""
    sent = b"".join(HEAD.pack(offset, len(data)) + data for offset, data in parts)
    return io.BytesIO(sent if end is None else sent + HEAD.pack(end, 0))


def test_a_file_arrives_with_its_holes(tmp_path: Path) -> None:
    got: list[int] = []
    with (tmp_path / "file").open("xb") as file:
        receive(pieces((0, b"begin"), (1 << 20, b"middle"), end=8 << 20), file, 8 << 20, got.append)
    content = (tmp_path / "file").read_bytes()
    assert (content[:5], content[1 << 20 : (1 << 20) + 6], len(content), sum(got)) == (b"begin", b"middle", 8 << 20, 11)
    assert (tmp_path / "file").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(
    "sent",
    [
        pieces(),
        pieces((0, b"whole but without an end")),
        pieces((0, b"x"), end=1),
        pieces((0, b"x"), end=1 << 40),
        pieces((99, b"beyond"), end=100),
        pieces((10, b"x"), (0, b"backwards"), end=100),
        pieces((0, b"0123456789"), (5, b"over"), end=100),
        io.BytesIO(HEAD.pack(0, 50) + b"cut off"),
        io.BytesIO(HEAD.pack(0, PIECE + 1) + b"x" * (PIECE + 1)),
        io.BytesIO(b"not even a head"[:7]),
    ],
)
def test_what_is_not_whole_or_not_in_order_is_refused(tmp_path: Path, sent: io.BytesIO) -> None:
    with (tmp_path / "file").open("xb") as file, pytest.raises(HostError, match="cut off"):
        receive(sent, file, 100, lambda _: None)


def test_an_overlay_stands_on_what_we_say_whatever_it_says(tmp_path: Path) -> None:
    qemu_img("create", "-q", "-f", "raw", str(tmp_path / "base"), "1M")
    overlay = tmp_path / "overlay"
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow", str(overlay), "2M")
    adopt(overlay, "base", "raw")
    found = json.loads(qemu_img("info", "--output=json", str(overlay)))
    assert (found["backing-filename"], found["backing-filename-format"], found["virtual-size"]) == ("base", "raw", 2 << 20)


def test_an_overlay_with_its_data_elsewhere_is_refused(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", str(overlay), "1M")
    with pytest.raises(Invalid, match="another file"):
        adopt(overlay, "base", "raw")


@pytest.mark.parametrize("content", [b"", b"QFI", b"# Disk DescriptorFile\n", b"QFI\xfb" + bytes(100), bytes(4096)])
def test_what_is_no_qcow2_is_refused(tmp_path: Path, content: bytes) -> None:
    overlay = tmp_path / "overlay"
    overlay.write_bytes(content)
    with pytest.raises(Invalid):
        adopt(overlay, "base", "raw")
