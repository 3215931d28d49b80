"""pilvi database: show the cloud's database, or move the cloud to another one."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pilvi.cli.place import Place, parser
from pilvi.cli.up import ENDING, hold
from pilvi.kernel.errors import Conflict, Invalid

VARIABLE = "PILVI_DATABASE__URL"


def main(arguments: list[str]) -> int:
    options = parser("database", "Show the cloud's database, or move the cloud to another one: SQLite, PostgreSQL or MariaDB.")
    options.add_argument("what", choices=["show", "move"], help="show: which it is, and how large; move: copy all rows to another, empty one")
    options.add_argument(
        "url", nargs="?", metavar="URL",
        help="move: postgresql+psycopg://USER:PASSWORD@HOST/NAME, mysql+pymysql://USER:PASSWORD@HOST/NAME, or sqlite: for the file in the state "
        f"folder.  Others on this machine can see it: a URL with a password is better given by --url-file or in ${VARIABLE}.",
    )  # fmt: skip
    options.add_argument("--url-file", metavar="FILE", help="move: a file that holds the URL")
    options.add_argument("--switch", action="store_true", help="move: write the new URL into pilvi.toml when all is copied")
    chosen = options.parse_args(arguments)
    place = Place(chosen)
    if chosen.what == "show":
        if chosen.url or chosen.url_file or chosen.switch:
            options.error("show takes no URL")
        return _show(place)
    if chosen.url and chosen.url_file:
        options.error("give a URL or --url-file, not both")
    return _move(place, chosen.url, chosen.url_file, switch=chosen.switch)


def _show(place: Place) -> int:
    from pilvi.kernel.db.migrations import head, revision
    from pilvi.kernel.db.moving import shown, sizes

    with _database(place, _present(place, dict(os.environ))) as database:
        at = revision(database)
        known = "" if at == head() else f" (this program knows {head()}; `pilvi up` brings an older one there)"
        print(f"{database.url.get_backend_name()}  {shown(database)}")
        print(f"revision {at or 'none: no cloud has been started on it'}{known}")
        found = sizes(database)
        for one in found:
            if one.rows:
                print(f"  {one.table:<40} {one.rows:>10} rows {_size(one.bytes):>12}")
        print(f"{len(found)} tables, {sum(one.rows for one in found)} rows, {_size(sum(one.bytes or 0 for one in found))}")
    return 0


def _move(place: Place, given: str | None, file: str | None, *, switch: bool) -> int:
    from pilvi.kernel.db.moving import move, shown

    environment = dict(os.environ)
    if given is None and file is None:
        given = environment.pop(VARIABLE, "")
        if not given:
            raise Invalid(f"say where to: a URL, --url-file FILE, or the variable {VARIABLE}.")
    elif file is not None:
        given = Path(file).read_text(encoding="utf-8").strip()
    if switch and environment.get(VARIABLE):
        raise Conflict(f"the variable {VARIABLE} goes over what pilvi.toml says: --switch would change nothing; set the variable anew instead.")
    url = f"sqlite:///{place.state / 'pilvi.db'}" if given in ("sqlite", "sqlite:", "sqlite://") else str(given)
    if place.pid() is not None:
        raise Conflict("the cloud runs: stop it by `pilvi down`, its servers go on meanwhile; move it, and start it again.")
    with hold(place.state / "pilvi.lock", within=ENDING), _database(place, _present(place, environment)) as source, _database(place, url) as target:
        if source.url == target.url:
            raise Conflict(f"the cloud's database is {shown(source)} already.")
        if source.embedded and not Path(source.url.database or "").exists():
            raise Conflict(f"there is no cloud in {place.state} that could be moved.")
        _nobody_else(source)
        print(f"from  {shown(source)}\nto    {shown(target)}", flush=True)

        def end() -> None:
            if switch:
                write_url(place.config, "" if url == f"sqlite:///{place.state / 'pilvi.db'}" else url)

        rows = move(source, target, lambda words: print(words, flush=True), before_end=end)
        print(f"{rows} rows are there, and the sums of all tables agree; the old database is left as it is.")
    if switch:
        print(f"{place.config} names the new one: `pilvi up` starts the cloud on it.")
    else:
        print(f"Have the cloud use it: in {place.config}, under [database], set url; or set {VARIABLE}.")
    return 0


@contextlib.contextmanager
def _database(place: Place, url: str) -> Iterator[Any]:
    from pilvi import program
    from pilvi.kernel.db import Database

    assert program.SERVICES  # their tables are known
    database = Database(url, connections=2)
    try:
        yield database
    finally:
        database.close()


def _present(place: Place, environment: dict[str, str]) -> str:
    """The URL of the database that the cloud has."""
    from pilvi import program

    return program.settings(place.state, place.config, environment).database.url or f"sqlite:///{place.state / 'pilvi.db'}"


def _nobody_else(source: Any) -> None:
    """Raise Conflict while programs of other hosts use the database."""
    from pilvi.kernel import clock
    from pilvi.kernel.processes import Process

    with source.transaction(write=False) as tx:
        alive = tx.all(Process, Process.c.heartbeat_at > clock.now() - 60, order=[Process.c.host])
    if alive:
        hosts = ", ".join(dict.fromkeys(one.host for one in alive))
        raise Conflict(f"programs of this cloud were heard of within a minute on: {hosts}; stop all of them (after a crash, wait a minute).")


def write_url(config: Path, url: str) -> None:
    """Have `url` under [database] of the settings be this one ("": none), and leave all else as it is; the file becomes its owner's alone.

    Raises Invalid when the file is written in a way that cannot be changed line by line.
    """
    old = config.read_text(encoding="utf-8") if config.exists() else ""
    lines = old.splitlines()
    line = f"url = {_quoted(url)}"
    start = next((number for number, one in enumerate(lines) if re.match(r"\s*\[\s*database\s*\]", one)), None)
    if start is None:
        lines += [*([""] if lines else []), "[database]", line]
    else:
        end = next((number for number in range(start + 1, len(lines)) if re.match(r"\s*\[", lines[number])), len(lines))
        place = next((number for number in range(start + 1, end) if re.match(r"\s*url\s*=", lines[number])), None)
        if place is None:
            lines.insert(start + 1, line)
        else:
            lines[place] = line
    text = "\n".join(lines) + "\n"
    try:
        before, after = tomllib.loads(old), tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        before, after = {}, {}
    before.setdefault("database", {})["url"] = url
    if before != after:
        raise Invalid(f"{config} cannot be changed line by line: set url under [database] by hand.")
    fresh = config.with_name(f".{config.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    if config.exists():
        with contextlib.suppress(PermissionError):
            os.chown(fresh, config.stat().st_uid, config.stat().st_gid)
    fresh.replace(config)


def _quoted(text: str) -> str:
    """A string of TOML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _size(count: int | None) -> str:
    """Bytes in words."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} GiB"


