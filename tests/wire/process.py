"""A cloud in a process of its own, started and ended by the `pilvi` command as a user does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import openstack.config
import openstack.connection

from pilvi.kernel.testing import databases
from pilvi.kernel.testing.ports import take_port

ROOT = Path(__file__).resolve().parents[2]
ROLES = ["api", "scheduler", "conductor", "network", "volume", "compute", "console"]
HOST = "hill"


def clean_environment() -> dict[str, str]:
    """This process' environment without what would reach the cloud or the client from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PILVI_", "PYTHON", "CLIFF_"))}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def connect(cloud: RealCloud, **asked: Any) -> openstack.connection.Connection:
    """openstacksdk by the cloud's clouds.yaml; `asked` goes over what that says (`username="mira"`)."""
    files = [str(cloud.clouds_yaml)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library speaks of its own future
        config = openstack.config.OpenStackConfig(config_files=files, load_envvars=False, secure_files=[], vendor_files=[])
        return openstack.connection.Connection(config=config.get_one("pilvi", **asked))


class RealCloud:
    """A fresh cloud with fake drivers; `with` starts it and, whatever happens, ends it."""

    def __init__(self, state: Path, *, fake: bool = True, **settings: str) -> None:
        self.state = state
        self.port = take_port()
        self.up_options = ["--fake"] if fake else []
        self.environment = clean_environment() | {
            "PILVI_API__PORT": str(self.port), "PILVI_HOST": HOST, "PILVI_DATABASE__DURABILITY": "process",
            "PILVI_IDENTITY__HASH_TIME_COST": "1", "PILVI_IDENTITY__HASH_MEMORY_KIB": "1024",
        } | databases.environment(state) | settings  # fmt: skip

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def clouds_yaml(self) -> Path:
        return self.state / "clouds.yaml"

    def say(self, *words: str, within: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run `pilvi WORDS --state ...` to its end."""
        command = [sys.executable, "-m", "pilvi", words[0], "--state", str(self.state), *words[1:]]
        return subprocess.run(
            command, env=self.environment, cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=within, check=False
        )

    def up(self) -> None:
        done = self.say("up", *self.up_options)
        assert done.returncode == 0, f"pilvi up: {done.stdout}{done.stderr}\n{self.last_words()}"

    def down(self) -> None:
        """End the process, and see that it has ended."""
        pid = self.pid()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.say("down", within=45)
        if pid is not None and self.pid() == pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pid(self) -> int | None:
        try:
            return int((self.state / "pilvi.pid").read_text())
        except (OSError, ValueError):
            return None

    def last_words(self) -> str:
        """The end of the log, for those who read a failure."""
        with contextlib.suppress(OSError):
            return "\n".join((self.state / "log" / "pilvi.log").read_text(encoding="utf-8").splitlines()[-15:])
        return ""

    def settle(self, within: float = 30.0) -> None:
        """Wait until the cloud has done all that it was asked for: no workflow is left."""
        end = time.monotonic() + within
        with databases.looking(self.state) as look:
            while rows := look("SELECT kind, step FROM kernel_workflows"):
                assert time.monotonic() < end, f"after {within:g} s the cloud still works on {rows}"
                time.sleep(0.02)

    def __enter__(self) -> RealCloud:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()
