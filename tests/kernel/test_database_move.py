"""Rows move between SQLite, PostgreSQL and MariaDB, each way, and are the same afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pilvi import program
from pilvi.cli.database import write_url
from pilvi.kernel.db import Blob, Database, Key, Row, Serial, Text
from pilvi.kernel.db.migrations import UNFINISHED, migrate
from pilvi.kernel.db.moving import content, move, sizes
from pilvi.kernel.errors import Conflict, Invalid, Unavailable
from pilvi.kernel.testing.servers import KINDS, Server
from pilvi.program import settings


class Trunk(Row, table="things_trunks"):
    """A row of every type, with all that is awkward in it."""

    id: Serial = 0
    name: str
    story: Text = ""
    data: Blob = b""
    weight: float | None = None
    heavy: bool = False
    size: int = 0
    labels: dict[str, Any] = {}


class Tag(Row, table="things_tags"):
    name: Key


NAMES = ["a", "A", "a ", "ä", "☃ \U0001f4a9", "'; DROP TABLE things_trunks; --", "100%s {x} \\ \"", "x" * 255]
Make = Callable[[str], Database]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    assert program.SERVICES  # the tables of the whole program are known
    made = {name: kind() for name, kind in KINDS.items()}
    yield made
    for server in made.values():
        server.stop()


@pytest.fixture
def make(servers: dict[str, Server], tmp_path: Path) -> Iterator[Make]:
    """Makes empty databases of a kind."""
    made: list[Database] = []

    def one(kind: str) -> Database:
        url = f"sqlite:///{tmp_path}/{len(made)}.db" if kind == "sqlite" else servers[kind].create(f"move_{next(_numbers)}")
        made.append(Database(url, durability="none"))
        return made[-1]

    yield one
    for database in made:
        database.close()


_numbers = count()


def fill(database: Database) -> list[Trunk]:
    migrate(database)
    rows = [
        Trunk(
            name=name, story=name * 300, data=bytes(range(256)) * 4, weight=[None, 0.1, 1 / 3, 1.7e9 + 1e-6, 1e300, -0.0][number % 6],
            heavy=number % 2 == 0, size=[0, -1, 2**62, 2**63 - 1][number % 4], labels={"k": [name, None, 1.5, {"long": "y" * 70_000}]},
        )
        for number, name in enumerate(NAMES)
    ]  # fmt: skip
    with database.transaction() as tx:
        tx.insert_all([Tag(name=name[:60]) for name in NAMES])
        tx.insert_all(rows)
        last = tx.insert(Trunk(name="gone"))
        tx.remove(last)
    return everything(database)


def everything(database: Database) -> list[Trunk]:
    with database.transaction(write=False) as tx:
        return tx.all(Trunk, order=[Trunk.c.id])


def quiet(words: str) -> None:
    assert words


@pytest.mark.parametrize(("here", "there"), [(a, b) for a in ("sqlite", *KINDS) for b in ("sqlite", *KINDS) if a != b])
def test_all_is_the_same_afterwards(make: Make, here: str, there: str) -> None:
    source, target = make(here), make(there)
    before = fill(source)
    assert [row.name for row in before] == NAMES
    told: list[str] = []
    assert move(source, target, told.append) == 2 * len(NAMES)
    assert everything(target) == before == everything(source)
    assert any("things_trunks: 8 rows" in words for words in told)
    with target.transaction() as tx:
        assert tx.insert(Trunk(name="later")).id == len(NAMES) + 2, "a number that was given is not given again"
        assert tx.count(Tag, Tag.c.name == "A") == tx.count(Tag, Tag.c.name == "a ") == 1
    migrate(target)  # it is a cloud's database now
    assert {one.table: one.rows for one in sizes(target)}["things_tags"] == len(NAMES)


@pytest.mark.parametrize("there", KINDS)
def test_an_interrupted_move_goes_on(make: Make, there: str) -> None:
    source, target = make("sqlite"), make(there)
    before = fill(source)

    def torn(words: str) -> None:
        if "things_trunks" in words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(source, target, torn)
    with pytest.raises(Unavailable, match="a part of a cloud"):
        migrate(target)
    with target.engine.begin() as connection:  # rows that are not as they should be are copied again
        connection.execute(Tag.t.update().where(Tag.c.name == "ä").values(name="o"))
    move(source, target, quiet)
    assert everything(target) == before
    table = Tag.t
    assert content(target, table) == content(source, table)
    with target.engine.connect() as connection:
        assert UNFINISHED not in sa.inspect(connection).get_table_names()


@pytest.mark.parametrize("there", KINDS)
def test_what_holds_something_else_is_left_alone(make: Make, there: str) -> None:
    source, target, other = make("sqlite"), make(there), make("sqlite")
    fill(source)
    before = fill(target)
    with pytest.raises(Conflict, match="is not empty"):
        move(source, target, quiet)
    assert everything(target) == before
    fill(other)
    half = make(there)

    def torn(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(other, half, torn)
    with pytest.raises(Conflict, match="another cloud"):
        move(source, half, quiet)


def test_a_server_that_is_not_there_is_one_sentence_without_the_password(make: Make, servers: dict[str, Server]) -> None:
    source = make("sqlite")
    fill(source)
    for scheme in ("postgresql+psycopg", "mysql+pymysql"):
        target = Database(f"{scheme}://me:topsecret@127.0.0.1:1/nothing")
        with pytest.raises(Unavailable) as told:
            move(source, target, quiet)
        assert "127.0.0.1" in told.value.message
        assert "topsecret" not in told.value.message
        target.close()


@pytest.mark.parametrize(
    "text",
    ["", "region = 'x'\n", "[database]\n", "[database]\ndurability = 'process'\nurl = 'old' # here\n[api]\nbind = '::1'\n", "[api]\nport = 1\n"],
)
def test_the_settings_name_the_new_database_and_keep_the_rest(tmp_path: Path, text: str) -> None:
    config = tmp_path / "pilvi.toml"
    config.write_text(text)
    before = settings(tmp_path, config, {})
    before.database.url = "postgresql+psycopg://me:a\"b\\c@host/db"
    write_url(config, before.database.url)
    assert settings(tmp_path, config, {}) == before
    assert config.stat().st_mode & 0o777 == 0o600


def test_settings_written_in_another_way_are_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "pilvi.toml"
    for text in ("database = {url = 'x'}\n", "database.url = 'x'\n", "[[[\n"):
        config.write_text(text)
        with pytest.raises(Invalid, match="by hand"):
            write_url(config, "sqlite:///y")
        assert config.read_text() == text
