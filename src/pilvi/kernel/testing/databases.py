"""Which database and bus a test's cloud has: SQLite in its state folder, or one of its own on the server that the run is on.

`pilvi test --database postgresql --bus nats` starts servers and names them in $TEST_DATABASE_URL and $TEST_BUS_URL.
Databases with all tables are made once and emptied after each test, which is much faster than making them.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pilvi.kernel.db import Database, metadata
from pilvi.kernel.db.migrations import migrate
from pilvi.kernel.ids import new_word

VARIABLE, BUS = "TEST_DATABASE_URL", "TEST_BUS_URL"


def kind() -> str:
    """What the tests run on: sqlite, postgresql or mariadb."""
    url = os.environ.get(VARIABLE, "")
    return {"": "sqlite", "mysql": "mariadb", "mariadb": "mariadb"}.get(url.partition("+")[0], "postgresql")


def url(state: Path) -> str:
    """The URL of the database that belongs to this state folder: always the same one, made (with all tables) when it is first asked for."""
    if kind() == "sqlite":
        return f"sqlite:///{state.resolve() / 'pilvi.db'}"
    return _shelf().of(state)


def settings(state: Path) -> dict[str, str]:
    """What a cloud in this state folder is told of its database."""
    return {} if kind() == "sqlite" else {"url": url(state)}


def environment(state: Path) -> dict[str, str]:
    """The same, and what it is told of its bus, for a cloud in a process of its own."""
    database = {f"PILVI_DATABASE__{name.upper()}": value for name, value in settings(state).items()}
    return database | {f"PILVI_BUS__{name.upper()}": value for name, value in bus().items()}


def bare(state: Path) -> str:
    """The URL of a database without any table."""
    return url(state) if kind() == "sqlite" else _shelf().bare(state)


def copy(template: Path, state: Path) -> None:
    """Have the database of `state` begin as a copy of that of `template`, which nobody uses; SQLite's file is copied with the folder."""
    if kind() != "sqlite":
        _shelf().copy(template, state)


@contextmanager
def looking(state: Path) -> Iterator[Callable[[str], list[Any]]]:
    """A function that answers the rows of a query on the database of a cloud that runs in this state folder."""
    place = f"sqlite:///file:{state.resolve() / 'pilvi.db'}?mode=ro&uri=true" if kind() == "sqlite" else url(state)
    engine = sa.create_engine(place, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield lambda query: list(connection.exec_driver_sql(query))
    finally:
        engine.dispose()


def release(folder: Path) -> None:
    """The test is over: its databases, those of state folders in this folder, are free for others."""
    if kind() != "sqlite":
        _shelf().release(folder)


def bus() -> dict[str, str]:
    """What a cloud is told of its bus: the one that the run is on ($TEST_BUS_URL), under a prefix where nobody else hears it."""
    chosen = os.environ.get(BUS, "")
    return {"url": chosen, "prefix": new_word(12)} if chosen else {}


class Shelf:
    """The databases of one test process."""

    def __init__(self, server: str) -> None:
        self._server = sa.make_url(server)
        self._kind = kind()
        self._quote = '"{}"' if self._kind == "postgresql" else "`{}`"
        self._engines: dict[str, sa.Engine] = {}
        self._made = 0
        self._free: list[str] = []
        self._lent: dict[Path, str] = {}
        self._single: set[str] = set()  # those that are thrown away after use

    def of(self, state: Path) -> str:
        state = state.resolve()
        name = self._lent.get(state)
        if name is None:
            name = self._lent[state] = self._free.pop() if self._free else self._furnished()
        return self._url(name)

    def bare(self, state: Path) -> str:
        name = self._lent[state.resolve()] = self._create()
        self._single.add(name)
        return self._url(name)

    def copy(self, template: Path, state: Path) -> None:
        source = self._lent[template.resolve()]
        if self._kind == "postgresql":
            self._end_others(source)
            name = self._lent[state.resolve()] = self._create(source)
            self._single.add(name)
            return
        self.of(state)
        target = self._lent[state.resolve()]
        filled = [table for table in self._filled(source) if table != "alembic_version"]
        self._run(target, *(f"INSERT INTO `{target}`.`{table}` SELECT * FROM `{source}`.`{table}`" for table in filled))

    def release(self, folder: Path) -> None:
        folder = folder.resolve()
        for state in [state for state in self._lent if state.is_relative_to(folder)]:
            name = self._lent.pop(state)
            self._end_others(name)
            if name in self._single:
                self._single.discard(name)
                self._drop(name)
            else:
                self._empty(name)
                self._free.append(name)

    def clear(self) -> None:
        """Drop all of them."""
        for name in (*self._free, *self._lent.values()):
            with contextlib.suppress(sa.exc.DBAPIError):
                self._end_others(name)
                self._drop(name)
        self._free.clear()
        self._lent.clear()

    # -- on the server ---------------------------------------------------------------------------

    def _url(self, name: str) -> str:
        return self._server.set(database=name).render_as_string(hide_password=False)

    def _run(self, name: str, *statements: str) -> list[Any]:
        """Run SQL in a database (\"\": the server's first one); answers the rows of the last statement."""
        engine = self._engines.get(name)
        if engine is None:
            url = self._url(name) if name else self._server
            engine = self._engines[name] = sa.create_engine(url, poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT")
        rows: list[Any] = []
        with engine.connect() as connection:
            for statement in statements:
                result = connection.exec_driver_sql(statement)
                rows = list(result) if result.returns_rows else []
        return rows

    def _create(self, template: str = "template0") -> str:
        self._made += 1
        name = f"test_{os.getpid()}_{self._made}"
        like = f" TEMPLATE {self._quote.format(template)}" if self._kind == "postgresql" else ""
        self._run("", f"CREATE DATABASE {self._quote.format(name)}{like}")
        return name

    def _furnished(self) -> str:
        """A database with all tables of the whole program, and those that tests declare."""
        import pilvi.program  # noqa: F401 (declares them)

        name = self._create()
        made = Database(self._url(name))
        migrate(made)
        made.close()
        return name

    def _drop(self, name: str) -> None:
        self._engines.pop(name, None)
        self._run("", f"DROP DATABASE {self._quote.format(name)}")

    def _end_others(self, name: str) -> None:
        """End the connections of programs that were killed, as tests kill them."""
        if self._kind == "postgresql":
            self._run("", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            return
        for (number,) in self._run("", f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"):
            with contextlib.suppress(sa.exc.DBAPIError):
                self._run("", f"KILL {number}")

    def _filled(self, name: str) -> list[str]:
        """The tables that have rows."""
        none = "" if self._kind == "postgresql" else " FROM DUAL"
        asked = " UNION ALL ".join(f"SELECT '{table}'{none} WHERE EXISTS (SELECT 1 FROM {table})" for table in metadata.tables)
        return [row[0] for row in self._run(name, asked)]

    def _empty(self, name: str) -> None:
        tables = [metadata.tables[table] for table in self._filled(name)]
        words = [f"DELETE FROM {table.name}" for table in tables]
        for table in tables:
            serial = table.autoincrement_column
            if serial is not None and self._kind == "postgresql":
                words.append(f"ALTER SEQUENCE {table.name}_{serial.name}_seq RESTART")
            elif serial is not None:
                words.append(f"ALTER TABLE {table.name} AUTO_INCREMENT = 1")
        self._run(name, *words)


@functools.cache
def _shelf() -> Shelf:
    made = Shelf(os.environ[VARIABLE])
    atexit.register(made.clear)
    return made
