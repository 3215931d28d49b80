"""pilvi up: start the cloud, in the background unless told otherwise."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pilvi.cli.place import Place, parser
from pilvi.kernel.errors import Conflict, PilviError, Unavailable

# role, group of packages, section of the settings, driver that needs them and root rights
REAL = (("compute", "compute", "compute", "libvirt"), ("network", "network", "network", "linux"), ("volume", "storage", "block_storage", "file"))
ENDING = 30.0  # seconds that a process which ends may still hold the state folder, as long as `pilvi down` gives it


def main(arguments: list[str]) -> int:
    options = parser("up", "Start the cloud; say it again and nothing happens.")
    options.add_argument("--foreground", action="store_true", help="stay in the foreground until ctrl-c")
    options.add_argument("--roles", help="only these roles, separated by commas")
    options.add_argument("--fake", action="store_true", help="machines, networks and disks that only pretend (needs no root rights)")
    chosen = options.parse_args(arguments)
    place = Place(chosen)
    place.state.mkdir(parents=True, exist_ok=True, mode=0o755)
    if chosen.foreground and _already(place) is None:
        with hold(place.state / "pilvi.lock", within=ENDING):
            return _run(place, roles=chosen.roles, fake=chosen.fake)
    with hold(place.state / "up.lock"):
        if (where := _already(place)) is not None:
            print(f"already up: {where}")
            return 0
        start(place, [*(["--roles", chosen.roles] if chosen.roles else []), *(["--fake"] if chosen.fake else [])])
        print(f"up: {_where(place)}")
        return 0


def _already(place: Place) -> str | None:
    """Where the cloud is that runs, once it answers; None when none runs.  A process that was just killed may be seen a moment more."""
    end = time.monotonic() + ENDING
    while (pid := place.pid()) is not None:
        try:
            return _where(place)
        except Unavailable:
            if time.monotonic() > end:
                raise Unavailable(f"process {pid} has not answered for {ENDING:g} s; `kill -9 {pid}` is safe.") from None
            time.sleep(0.05)
    return None


def _where(place: Place) -> str:
    """Where the API is and what clients need; of a process without an API, what it is."""
    told = place.ask("/status")
    if told["url"]:
        return f"{told['url']}   {place.state / 'openrc'}"
    return f"{', '.join(role['role'] for role in told['roles'])} on {told['host']}"


@contextlib.contextmanager
def hold(lock: Path, *, within: float | None = None) -> Iterator[None]:
    """Hold a lock of the state folder; it ends with the process at the latest.

    Waits `within` seconds (None: as long as it takes), then raises Conflict.  A process that was killed holds its locks for
    a moment after everything else of it is gone, so who wants to run the cloud next must wait a little too.
    """
    end = None if within is None else time.monotonic() + within
    with open(lock, "a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if end is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if end is not None and time.monotonic() > end:
                    whose = f"another process runs the cloud in {lock.parent}, or is about to end"
                    raise Conflict(f"{whose}; `pilvi status` and `pilvi down` tell.") from None
            time.sleep(0.02)
        yield


def start(place: Place, extra: list[str], *, within: float = 120.0) -> None:
    """Start the program in the background and wait until it answers; raises PilviError with its own last words."""
    place.state.mkdir(parents=True, exist_ok=True, mode=0o755)
    out = place.state / "log" / "start.log"
    out.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pilvi", "up", "--foreground", "--state", str(place.state), "--config", str(place.config), *extra]
    if os.geteuid() != 0 and "--fake" not in extra:
        command = ["sudo", "-E", *command]
    with open(out, "w", encoding="utf-8") as words:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True, cwd="/")
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            place.ask("/status", timeout=5)
            return
        except Unavailable:
            pass
        if process.poll() is not None:
            said = out.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise PilviError((said[-1] if said else "the program ended at once").removeprefix("pilvi up: "))
        time.sleep(0.05)
    raise PilviError(f"the cloud did not answer within {within:g} s; `pilvi logs` and {out} tell more.")


def _run(place: Place, *, roles: str | None, fake: bool) -> int:
    from pilvi import credentials_files, program
    from pilvi.kernel import log
    from pilvi.run import serve

    given: dict[str, Any] = {"roles": roles.split(",")} if roles else {}
    if fake:
        given |= {"compute": {"driver": "fake"}, "network": {"driver": "fake"}, "block_storage": {"driver": "fake"}}
    settings = program.settings(place.state, place.config, **given)
    _check_rights(settings)
    place.state.mkdir(parents=True, exist_ok=True)
    log.configure(place.log, settings.log.level)
    built = program.build(settings)
    built.run_dir = place.run_dir
    place.run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
    built.on_started.append(lambda: credentials_files.write(built))
    try:
        serve(built, place.socket, place.pid_file)
    except PilviError as error:
        log.error("could not run", why=error.message)
        raise
    finally:
        with contextlib.suppress(OSError):  # sockets of helpers that go on may lie there
            place.run_dir.rmdir()
    return 0


def _check_rights(settings: Any) -> None:
    """Real machines and networks need root rights and packages: say so before anything is begun."""
    from pilvi import packages

    groups = [
        group for role, group, section, driver in REAL
        if getattr(settings, section).driver == driver and (not settings.roles or role in settings.roles)
    ]  # fmt: skip
    if settings.bus.serve and packages.missing(("bus",)):
        raise PilviError("the package nats-server is missing, which carries the bus: apt-get install nats-server")
    if not groups:
        return
    if os.geteuid() != 0:
        raise PilviError("real machines and networks need root rights; run it with sudo, or with --fake.")
    missing = packages.missing(groups)
    if missing:
        raise PilviError(f"system packages are missing: {' '.join(missing)}; `pilvi demo` installs them, or: apt-get install {' '.join(missing)}")

