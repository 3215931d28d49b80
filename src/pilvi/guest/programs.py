"""The host's programs that image building starts: found, run without a shell, and explained when they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pilvi.kernel.errors import HostError

_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_program(name: str) -> str | None:
    """Where the host keeps a program, looking into the administrator's folders too; None when it has none."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_FOLDERS}")


def run(
    name: str,
    *arguments: str | Path,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
) -> bytes:
    """Run a program of the host and answer what it printed.  Raises HostError with its last words when it fails."""
    program = find_program(name)
    if program is None:
        raise HostError(f"The program {name} is not installed; run `./pilvi install guest` and try again.")
    done = subprocess.run(
        [program, *map(str, arguments)],
        cwd=cwd,
        input=stdin if stdin is not None else b"",
        capture_output=True,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        check=False,
    )
    if done.returncode not in accept:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-3:]
        raise HostError(f"{name} failed with code {done.returncode}: {' / '.join(words) or 'it said nothing'}")
    return done.stdout
