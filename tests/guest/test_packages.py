"""System packages: which are missing, and what is said where they cannot be installed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pilvi import packages
from pilvi.kernel.errors import HostError, Invalid

STATUS = """\
Package: qemu-utils
Essential: no
Status: install ok installed
Version: 1

Package: mtools
Status: deinstall ok config-files
Description: says
 Status: install ok installed

Package: xorriso
Status: hold ok installed
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with dpkg's file and an apt that notes what it is told."""
    monkeypatch.setattr(packages, "_DPKG_STATUS", tmp_path / "status")
    monkeypatch.setattr(packages, "_POLICY", tmp_path / "policy-rc.d")
    (tmp_path / "status").write_text(STATUS)
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder, "apt-cache", "printf '%s:\\n  Installed: (none)\\n  Candidate: 1\\n' zstd genisoimage")
    program(folder, "apt-get", f'cd "{tmp_path}"; test -e policy-rc.d && echo quiet >> log; echo "$@" >> log')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def program(folder: Path, name: str, script: str) -> None:
    """A program of the machine."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_what_is_not_installed_is_missing(tools: Path) -> None:
    assert packages.missing(["guest"]) == ["syslinux", "syslinux-common", "mtools", "dosfstools", "e2fsprogs", "zstd"]
    assert "genisoimage" not in packages.missing(["compute"]), "xorriso stands in for it"
    assert packages.missing(["storage", "storage"]).count("qemu-block-extra") == 1
    with pytest.raises(Invalid, match="no group of packages named nonsense"):
        packages.missing(["nonsense"])


def test_asking_takes_no_time() -> None:
    began = time.monotonic()
    packages.missing(packages.GROUPS)
    assert time.monotonic() - began < 0.25


def test_installing_keeps_daemons_from_starting_and_cleans_up(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said: list[str] = []
    packages.install(["zstd"], said.append)
    log = (tmp_path / "log").read_text().splitlines()
    assert log[-1].endswith("-y install --no-install-recommends zstd")
    assert "DPkg::Lock::Timeout=300" in log[-1]
    assert said == ["installing 1 packages: zstd"]
    if not Path("/run/systemd/system").exists():
        assert log[-2] == "quiet"
    assert not (tmp_path / "policy-rc.d").exists()
    (tmp_path / "policy-rc.d").write_text("the machine's own")
    packages.install(["zstd"], said.append)
    assert (tmp_path / "policy-rc.d").read_text() == "the machine's own"
    packages.install([], said.append)


def test_what_apt_says_when_it_fails_is_handed_on(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program(tools, "apt-get", "echo 'Unpacking zstd (1) ...'; echo 'E: no space left'; exit 100")
    said: list[str] = []
    with pytest.raises(HostError, match="apt-get failed: no space left"):
        packages.install(["zstd"], said.append)
    assert said[-1] == "unpacking zstd"


def test_a_package_that_the_archive_lacks_is_named(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(HostError, match="does not offer qemu-utils;"):
        packages.install(["qemu-utils", "zstd"], lambda _: None)
    assert (tmp_path / "log").read_text().strip().endswith("update"), "the lists were fetched before giving up"


def test_without_rights_it_says_what_to_run(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    program(tools, "sudo", "exit 1")
    with pytest.raises(HostError, match="sudo asks for a password here; as root, run: apt-get install zstd"):
        packages.install(["zstd"], lambda _: None)
    monkeypatch.setenv("PATH", str(tools))
    (tools / "sudo").unlink()
    with pytest.raises(HostError, match="there is no sudo here; as root, run: apt-get install zstd"):
        packages.install(["zstd"], lambda _: None)


def test_another_system_is_told_so(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "status").unlink()
    with pytest.raises(HostError, match="not a Debian or Ubuntu"):
        packages.missing(["guest"])
    with pytest.raises(HostError, match="on Debian and Ubuntu only; install by hand: zstd"):
        packages.install(["zstd"], lambda _: None)
