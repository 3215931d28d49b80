"""What tests of races share: two programs on one database, eight threads in each that begin at once, and what they may not leave behind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from pilvi.kernel.config import KernelSettings
from pilvi.kernel.service import Service
from pilvi.kernel.testing import databases
from pilvi.kernel.testing.cloud import Cloud, Told

THREADS = 8
ROUNDS = 4  # of each race: a single one may miss the moment
LINGER = 0.01  # seconds for which everyone in a race waits with the commit, so that others come in between
STEP = 0.004  # seconds between those who add: some meet the one who deletes just where it looks for what there is
Two = tuple[Cloud, Cloud]


@contextmanager
def programs(
    folder: Path, services: Sequence[Service], sections: Mapping[str, type], *, second: Sequence[str] = (), **settings: Any
) -> Iterator[Two]:
    """Two running programs, each with its own state folder, on one database; `sections` are their services' settings.

    `second`: the second one's roles, all by default.  Without a bus between them the agents of one are not there for the other.
    """
    fields = [(name, kind, msgspec.field(default_factory=kind)) for name, kind in sections.items()]
    kind = msgspec.defstruct("RaceSettings", fields, bases=(KernelSettings,), kw_only=True)
    database = {"url": databases.url(folder / "first"), "durability": "none"}
    first = Cloud(folder / "first", services, kind, host="first", database=database, **settings)
    other = Cloud(folder / "second", services, kind, host="second", database=database, **{**settings, **({"roles": second} if second else {})})
    for cloud in (first, other):
        cloud.start()
    yield first, other
    for cloud in (first, other):
        cloud.stop()


def at_once(clouds: Two, act: Callable[[Cloud, int], Any], times: int = 2) -> list[Any]:
    """What `act` answered in eight threads of each program, all of which begin in the same moment."""
    gate = threading.Barrier(2 * THREADS)

    def work(number: int) -> list[Any]:
        gate.wait(30)
        return [act(clouds[number % 2], number * times + turn) for turn in range(times)]

    with ThreadPoolExecutor(2 * THREADS) as pool:
        return [answer for answers in pool.map(work, range(2 * THREADS)) for answer in answers]


def statuses(told: list[Told]) -> Counter[int]:
    assert all(one.status < 500 for one in told), [one for one in told if one.status >= 500][:3]
    return Counter(one.status for one in told)


def rows(cloud: Cloud, *where: Any) -> list[Any]:
    """The rows that fit, read from the table itself."""
    with cloud.program.db.transaction(write=False) as tx:
        return tx.rows(sa.select(sa.literal_column("*")).where(*where))


Made = dict[str, str]  # the ids of what a race is about, by what they are
Add = Callable[[Cloud, Made, int], Told]


class Race(NamedTuple):
    """Some delete a thing while others add to it: then either it is there, or nothing of what was added is left behind."""

    at: str  # its path, which is deleted and asked for afterwards
    add: Add
    left: Callable[[Cloud, Made], Sequence[Any]]  # what would be left behind
    delete: Add | None = None  # where it is not a DELETE of the path


def fill(text: str, made: Made, number: int = 0) -> str:
    """In paths, people and bodies <user> stands for the id of the user, and <number> for a number of one's own."""
    for name, value in {**made, "number": str(number)}.items():
        text = text.replace(f"<{name}>", value)
    return text


def ask(method: str, path: str, *, person: str = "admin", version: str = "", **body: Any) -> Add:
    """To ask this of a cloud."""
    template = msgspec.json.encode(body).decode()

    def add(cloud: Cloud, made: Made, number: int) -> Told:
        sent = msgspec.json.decode(fill(template, made, number)) or None
        return cloud.say(method, fill(path, made, number), sent, person=fill(person, made, number), version=version)

    return add


post, put = partial(ask, "POST"), partial(ask, "PUT")


def left(column: Any, of: str, *where: Any) -> Callable[[Cloud, Made], Sequence[Any]]:
    """The rows that refer to what is gone."""
    return lambda cloud, made: rows(cloud, column == made[of], *where)


def run(clouds: Two, race: Race, make: Callable[[Cloud], Made], *, version: str = "") -> None:
    """Have the race run a few times, three adding for each who deletes; on SQLite once, where each writer is alone."""
    for cloud in clouds:
        cloud.program.db.before_commit.insert(0, lambda _: time.sleep(LINGER))
    for _ in range(1 if databases.kind() == "sqlite" else ROUNDS):
        made = make(clouds[0])
        remove = race.delete or ask("DELETE", race.at, version=version)

        def act(cloud: Cloud, number: int, made: Made = made, remove: Add = remove) -> tuple[str, Told]:
            if number % 8 < 2:
                return "delete", remove(cloud, made, number)
            time.sleep(number * STEP)
            return "add", race.add(cloud, made, number)

        answers = at_once(clouds, act, times=1)
        counted = {what: statuses([told for one, told in answers if one == what]) for what in ("add", "delete")}
        gone = clouds[1].get(fill(race.at, made), person="admin", version=version).status == 404
        assert gone == any(status < 300 for status in counted["delete"]), counted
        assert not gone or not race.left(clouds[0], made), f"left behind: {race.left(clouds[0], made)}; answers: {counted}"
        assert gone or any(status < 300 for status in counted["add"]), f"refused for nothing: {answers}"
