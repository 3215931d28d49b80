"""Programs without a database, and one program at a time where several share one."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import sqlalchemy as sa

from pilvi.kernel.db.engine import Database
from pilvi.kernel.errors import Unavailable

_PATIENCE = 120  # seconds that a program waits for another one's turn to end


class NoDatabase:
    """Stands where a program that has only agents' roles would have its database: agents ask the conductor."""

    embedded = False

    def __getattr__(self, name: str) -> NoReturn:
        raise Unavailable("This program has no database: only the roles api, scheduler, conductor and console have one.")

    def close(self) -> None:
        """There is nothing to close."""


@contextmanager
def alone(database: Database, what: str) -> Iterator[None]:
    """Be the only program of this database that does `what`; it ends with the connection, so also with the process.

    Raises Unavailable when another one takes longer than two minutes.
    """
    dialect = database.url.get_backend_name()
    if dialect == "sqlite":
        with _file(database, what):
            yield
        return
    take, give = _statements(dialect, what)
    with database.engine.connect() as connection:
        if dialect == "postgresql":
            connection.execute(sa.text(f"SET lock_timeout = '{_PATIENCE}s'"))
        try:
            taken: Any = connection.execute(take).scalar()
        except sa.exc.OperationalError as error:
            raise Unavailable("Another program prepares the database, or it does not answer.") from error
        if dialect != "postgresql" and taken != 1:
            raise Unavailable("Another program prepares the database.")
        try:
            yield
        finally:
            connection.execute(give)
            connection.rollback()


def _statements(dialect: str, what: str) -> tuple[sa.TextClause, sa.TextClause]:
    name = f"pilvi-{what}"
    if dialect == "postgresql":
        key = "hashtext(current_database() || :name)"
        return sa.text(f"SELECT pg_advisory_lock({key})").bindparams(name=name), sa.text(f"SELECT pg_advisory_unlock({key})").bindparams(name=name)
    key = "CONCAT(DATABASE(), :name)"
    take = sa.text(f"SELECT GET_LOCK({key}, {_PATIENCE})").bindparams(name=name)
    return take, sa.text(f"SELECT RELEASE_LOCK({key})").bindparams(name=name)


@contextmanager
def _file(database: Database, what: str) -> Iterator[None]:
    place = database.url.database
    if not place or place == ":memory:":
        yield
        return
    with open(f"{place}.{what}", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
