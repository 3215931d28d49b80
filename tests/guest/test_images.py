"""The parts of image building that need no virtual machine: trees, disks, ELF files, the cache, the guest's small scripts."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from pilvi.guest import archive, cache, disk
from pilvi.guest.debian import debian_mirror
from pilvi.guest.elf import needed_libraries
from pilvi.guest.programs import run
from pilvi.guest.tree import Tree
from pilvi.kernel.errors import HostError

FILES = Path(cache.__file__).parent / "files"


def small_tree() -> Tree:
    """A program, a secret of somebody else, a link."""
    tree = Tree()
    tree.file("usr/bin/tool", "#!/bin/sh\necho hello\n")
    tree.file("etc/secret", "x", 0o600, 1000, 1000)
    tree.file("usr/bin/become", b"\x7fELF", 0o4750, 0, 27)
    tree.link("bin", "usr/bin")
    return tree


def test_a_cpio_archive_holds_the_tree_with_owners_and_modes(tmp_path: Path) -> None:
    archive_file = tmp_path / "tree.cpio"
    archive_file.write_bytes(small_tree().cpio())
    listing = subprocess.run(["cpio", "-itvn", "--quiet"], stdin=archive_file.open(), capture_output=True, text=True, check=True)
    lines = {line.split()[8]: line.split() for line in listing.stdout.splitlines()}
    assert lines["usr/bin/tool"][0] == "-rwxr-xr-x"
    assert lines["etc/secret"][:4] == ["-rw-------", "1", "1000", "1000"]
    assert lines["usr/bin/become"][0] == "-rwsr-x---"
    assert lines["bin"][-2:] == ["->", "usr/bin"]
    assert lines["usr"][0] == "drwxr-xr-x"


def test_a_root_file_system_has_the_trees_owners_whoever_builds_it(tmp_path: Path) -> None:
    tree = small_tree()
    folder, image = tmp_path / "root", tmp_path / "image"
    folder.mkdir()
    tree.write(folder)
    disk.root_partition(image, folder, 16, label="guestroot")
    disk.set_owners(image, tree)
    wanted = {"/etc/secret": ("0600", 1000, 1000), "/usr/bin/become": ("04750", 0, 27), "/usr": ("0755", 0, 0)}
    for path, expected in wanted.items():
        told = run("debugfs", "-R", f'stat "{path}"', image).decode()
        mode, uid, gid = expected
        assert f"Mode:  {mode}" in told
        assert f"User: {uid:5d}   Group: {gid:5d}" in told
    run("e2fsck", "-fn", image)


def test_two_partitions_become_one_disk(tmp_path: Path) -> None:
    boot, root, image = tmp_path / "boot", tmp_path / "root", tmp_path / "disk"
    disk.boot_partition(boot, {"kernel": b"k" * 100_000})
    root.write_bytes(b"r" * disk.MIB)
    disk.partitioned(image, boot, root, signature=0x69766C70)
    data = image.read_bytes()
    assert data[510:512] == b"\x55\xaa"
    assert data[440:444] == b"plvi"
    active, kind, start, count = struct.unpack("<B3xB3xII", data[446:462])
    assert (active, kind, start * 512, count * 512) == (0x80, 0x0E, disk.MIB, boot.stat().st_size)
    active, kind, start, count = struct.unpack("<B3xB3xII", data[462:478])
    assert (active, kind, count * 512) == (0, 0x83, disk.MIB)
    assert data[start * 512 : (start + count) * 512] == root.read_bytes()


def test_the_libraries_of_a_program_are_read_from_it() -> None:
    tool = shutil.which("qemu-img")
    assert tool is not None
    assert "libc.so.6" in needed_libraries(Path(tool).read_bytes())
    assert needed_libraries(b"#!/bin/sh\n") == []


def test_packages_bring_the_libraries_below_them_and_unknown_ones_are_explained() -> None:
    chosen = archive.select([["no-such-package-here", "dropbear-bin"]], optional=["no-such-either"])
    assert {"dropbear-bin", "libc6"} <= chosen.keys()
    assert all(package.version for package in chosen.values())
    with pytest.raises(HostError, match="does not offer no-such-package-here"):
        archive.select([["no-such-package-here"]])


def test_a_program_that_is_absent_or_fails_is_explained() -> None:
    with pytest.raises(HostError, match="no-such-program is not installed"):
        run("no-such-program")
    with pytest.raises(HostError, match="code 1"):
        run("qemu-img", "info", "/nonexistent")


class Builder:
    """Counts its builds."""

    def __init__(self) -> None:
        self.builds = 0
        self.version = "1"

    def versions(self) -> dict[str, str]:
        return {"package": self.version}

    def build(self, work: Path, image: Path) -> None:
        self.builds += 1
        (work / "left").touch()
        image.write_text(f"image {self.builds}")

    def image(self, folder: Path) -> Path:
        return cache.cached_image(folder, "some", self.versions, self.build)


def test_an_image_is_built_once_until_its_packages_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = Builder()
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "x_Packages").touch()
    monkeypatch.setattr(cache, "_APT_LISTS", lists)
    folder = tmp_path / "cache"
    first = builder.image(folder)
    assert builder.image(folder) == first
    assert builder.builds == 1
    builder.version = "2"
    assert builder.image(folder) == first, "the archive's lists have not changed: nobody asks"
    (lists / "y_Packages").write_text("newer")
    os.utime(lists / "y_Packages", (2_000_000_000, 2_000_000_000))
    second = builder.image(folder)
    assert second != first
    assert (first.exists(), builder.builds) == (True, 2), "a machine may still run on the first"
    os.utime(first, (0, 0))
    builder.version = "3"
    os.utime(lists / "y_Packages", (2_000_000_001, 2_000_000_001))
    builder.image(folder)
    assert not first.exists()
    assert second.exists()


def test_a_killed_builder_leaves_nothing_that_stays(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from pilvi.guest import cache\n"
        "def build(work, image):\n"
        "    image.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "cache.cached_image(Path(sys.argv[1]), 'some', lambda: {'package': '1'}, build)\n"
    )
    source = str(Path(cache.__file__).parents[2])
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env={"PYTHONPATH": source}, check=False)
    assert not list(tmp_path.glob("*.qcow2"))
    assert list(tmp_path.glob(".some-work-*"))
    builder = Builder()
    assert builder.image(tmp_path).read_text() == "image 1"
    assert not list(tmp_path.glob(".some-work-*"))


def test_the_mirror_is_that_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="name no mirror"):
        debian_mirror(tmp_path)
    (tmp_path / "sources.list").write_text(
        "# deb http://commented.example/debian bookworm main\n"
        "deb http://security.example/debian-security bookworm-security main\n"
        "deb [arch=amd64 signed-by=/x] https://mirror.example/debian/ bookworm main\n"
    )
    assert debian_mirror(tmp_path) == "https://mirror.example/debian"
    (tmp_path / "sources.list").unlink()
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text("Types: deb\nURIs: http://other.example/debian\n")
    assert debian_mirror(tmp_path) == "http://other.example/debian"


def flattened(document: object) -> dict[str, str]:
    """What the guest's JSON reader makes of a document."""
    script = FILES / "root/usr/lib/guest/json.awk"
    done = subprocess.run(["awk", "-f", script], input=json.dumps(document), capture_output=True, text=True, check=True)
    return dict(line.split("\t", 1) for line in done.stdout.splitlines())


def test_the_guest_reads_json() -> None:
    document = {
        "uuid": "u-1",
        "meta": {"note": 'a "quoted" {word}, and \\ a\nline', "public_keys/x": "decoy"},
        "public_keys": {"one": "ssh-rsa AAA one\n", "two": "ssh-ed25519 BBB"},
        "numbers": [1, {"a": [True, None]}, -2.5],
        "empty": {},
        "none": [],
        "last": "z",
    }
    assert flattened(document) == {
        "uuid": "u-1",
        "meta/note": 'a "quoted" {word}, and \\ a line',
        "meta/public_keys/x": "decoy",
        "public_keys/one": "ssh-rsa AAA one ",
        "public_keys/two": "ssh-ed25519 BBB",
        "numbers/0": "1",
        "numbers/1/a/0": "true",
        "numbers/1/a/1": "null",
        "numbers/2": "-2.5",
        "last": "z",
    }
    assert flattened([]) == {}
    assert flattened("x") == {"": "x"}
