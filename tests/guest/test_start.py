"""`./pilvi` in a clone: prepares .venv once, goes on after any interruption, and costs nothing when all is there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "import sys\nprint('pilvi says', *sys.argv[1:])\n"
# In place of uv, which would ask a package index: makes real environments, notes what it is told, can be slow or fail.
UV = """\
#!{python}
import os, pathlib, subprocess, sys, time
log = pathlib.Path({log!r})
with log.open("a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
folder = log.parent
if sys.argv[1] == "venv":
    subprocess.run([{python!r}, "-m", "venv", "--without-pip", sys.argv[-1]], check=True)
if sys.argv[1:3] == ["pip", "install"]:
    (folder / "environment").write_text("\\n".join(f"{{k}}={{v}}" for k, v in os.environ.items()))
    if (folder / "fail").exists():
        sys.exit("no network")
    while (folder / "slow").exists():
        time.sleep(0.02)
"""


class Clone:
    """A clone with a program that only tells its arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a clone"
        self.tools = folder / "tools"
        self.tools.mkdir()
        (self.folder / "src" / "pilvi").mkdir(parents=True)
        (self.folder / "src" / "pilvi" / "__main__.py").write_text(PROGRAM)
        (self.folder / "src" / "pilvi" / "__init__.py").touch()
        (self.folder / "src" / "pilvi" / "packages.py").write_text("import sys\nprint('packages', *sys.argv[1:], file=sys.stderr)\n")
        shutil.copy(ROOT / "pilvi", self.folder / "pilvi")
        shutil.copytree(ROOT / "scripts", self.folder / "scripts")
        for name in ("requirements.lock", "requirements-dev.lock", "requirements-libvirt.lock"):
            (self.folder / name).write_text("one==1 \\\n    --hash=sha256:00\n")
        self.log = self.tools / "log"
        self.log.touch()
        uv = self.tools / "uv"
        uv.write_text(UV.format(python=sys.executable, log=str(self.log)))
        uv.chmod(0o755)
        (self.tools / "python3").symlink_to(sys.executable)

    def popen(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        path = f"{self.tools}:{os.environ['PATH']}"
        told = ("UV_", "SSL_", "PIP_")
        untold = {name: value for name, value in os.environ.items() if not name.startswith(told)}
        return subprocess.Popen(
            [self.folder / "pilvi", *arguments],
            env={**untold, "PATH": path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.popen(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def told(self) -> list[str]:
        """What uv was told since the last time."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        words = [line.split() for line in lines if line != "--version"]
        return ["pip install" if first[:2] == ["pip", "install"] else first[0] for first in words]

    def wait_told(self, words: str) -> None:
        deadline = time.monotonic() + 30
        while words not in self.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_first_start_prepares_and_the_next_only_starts(clone: Clone) -> None:
    assert clone.run("status", "a b")[:2] == (0, "pilvi says status a b\n")
    assert clone.told() == ["venv", "pip install"]
    began = time.monotonic()
    assert clone.run("status") == (0, "pilvi says status\n", "")
    assert time.monotonic() - began < 1
    assert clone.told() == []


def test_a_changed_lock_is_installed_and_only_that(clone: Clone) -> None:
    clone.run("status")
    clone.told()
    (clone.folder / "requirements.lock").write_text("one==2 \\\n    --hash=sha256:00\n")
    assert clone.run("status")[0] == 0
    assert clone.told() == ["pip install"]
    assert clone.run("test")[0] == 0
    assert clone.told() == ["pip install", "pip install"], "the tests need two sets more"
    assert clone.run("test")[0] == 0
    assert clone.told() == []


def test_what_was_prepared_once_is_kept_up_to_date(clone: Clone) -> None:
    code, _, err = clone.run("prepare", "libvirt")
    assert code == 0
    assert "packages build" in err, "it is compiled, so its system packages come first"
    assert clone.told() == ["venv", "pip install", "pip install"]
    (clone.folder / "requirements-libvirt.lock").write_text("one==3 \\\n    --hash=sha256:00\n")
    assert clone.run("status")[0] == 0
    assert clone.told() == ["pip install"]
    shutil.rmtree(clone.folder / ".venv" / "bin")
    assert clone.run("status")[0] == 0
    assert clone.told() == ["venv", "pip install", "pip install"]
    assert clone.run("prepare", "nonsense")[0] == 1


def test_a_failed_installation_says_so_and_is_begun_again(clone: Clone) -> None:
    (clone.tools / "fail").touch()
    code, out, err = clone.run("status")
    assert (code, out) == (1, "")
    assert "no network" in err
    assert "Traceback" not in err
    (clone.tools / "fail").unlink()
    assert clone.run("status")[1] == "pilvi says status\n"


def test_killed_in_the_middle_it_starts_afresh(clone: Clone) -> None:
    (clone.tools / "slow").touch()
    process = clone.popen("status", PYTHONUNBUFFERED="1")
    clone.wait_told("pip install")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    clone.told()
    second = clone.popen("status")
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline(), "the child of the killed one is still writing"
    (clone.tools / "slow").unlink()
    out, _ = second.communicate(timeout=60)
    process.communicate(timeout=60)
    assert out == "pilvi says status\n"
    assert clone.told() == ["venv", "pip install"]


def test_a_broken_environment_is_made_anew(clone: Clone) -> None:
    clone.run("status")
    clone.told()
    python = clone.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nonexistent")
    assert clone.run("status")[1] == "pilvi says status\n"
    assert clone.told() == ["venv", "pip install"]
    assert not list(clone.folder.glob(".venv-gone*"))


def test_two_at_once_wait_for_each_other(clone: Clone) -> None:
    processes = [clone.popen(word) for word in ("one", "two")]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["pilvi says one\n", "pilvi says two\n"]
    assert clone.told() == ["venv", "pip install"]


def test_the_users_pip_configuration_is_obeyed(clone: Clone, tmp_path: Path) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text("[global]\nindex-url = https://one.example/simple\nfind-links =\n    /a\n    /b\n")
    told = {"PIP_CONFIG_FILE": str(configuration), "PIP_CERT": "/etc/some.pem", "PIP_EXTRA_INDEX_URL": "https://two.example/"}
    assert clone.run("status", **told)[1] == "pilvi says status\n"
    lines = (clone.tools / "environment").read_text().splitlines()
    assert "UV_DEFAULT_INDEX=https://one.example/simple" in lines
    assert "UV_FIND_LINKS=/a,/b" in lines
    assert "UV_INDEX=https://two.example/" in lines
    assert "SSL_CERT_FILE=/etc/some.pem" in lines


def test_it_starts_through_a_link_from_anywhere(clone: Clone, tmp_path: Path) -> None:
    link = tmp_path / "bin-pilvi"
    link.symlink_to(clone.folder / "pilvi")
    clone.run("status")
    done = subprocess.run([link, "where"], capture_output=True, text=True, cwd="/", check=False)
    assert done.stdout == "pilvi says where\n"
