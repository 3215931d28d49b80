"""The engine: one connection a thread, one writer at a time on SQLite, and retries where a server asks for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc

from pilvi.kernel.db.rows import metadata
from pilvi.kernel.db.transaction import Transaction
from pilvi.kernel.errors import Conflict, Invalid, Unavailable

T = TypeVar("T")
_RETRIES = 5


class Database:
    """A database by its URL (`sqlite:////path`, `postgresql+psycopg://...`, `mysql+pymysql://...`).

    `durability` (SQLite): "full" waits for the disk at every commit; "process" survives the death of the program at
    any moment but may lose the last commits when the machine itself loses power.
    """

    def __init__(self, url: str, *, durability: str = "full") -> None:
        self.url = _readable(url)
        self.embedded = self.url.get_backend_name() == "sqlite"
        self._local = threading.local()
        self._writer = threading.Lock()
        self._connections: list[sa.Connection] = []
        self.before_commit: list[Callable[[Transaction], None]] = []  # may still write, within the transaction
        self.after_commit: list[Callable[[Transaction], None]] = []
        if self.embedded:
            if self.url.database and self.url.database != ":memory:":
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = sa.create_engine(
                self.url, poolclass=sa.pool.NullPool, connect_args={"check_same_thread": False, "timeout": 30}, query_cache_size=2000
            )
            event.listen(self.engine, "connect", _sqlite_connect(durability))
            event.listen(self.engine, "begin", self._sqlite_begin)
        else:
            self.engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool, pool_pre_ping=False, query_cache_size=2000)

    def create_tables(self) -> None:
        """Make every table that is not there; migrations do this on living clouds."""
        with self.engine.begin() as connection:
            metadata.create_all(connection)

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[Transaction]:
        """One transaction: committed when the block ends well, rolled back when it raises.

        Functions given to `Transaction.after_commit` run after the commit, outside of it.
        """
        transaction = self.begin(write=write)
        try:
            yield transaction
        except BaseException:
            transaction.rollback()
            raise
        transaction.commit()

    def begin(self, *, write: bool = True) -> Transaction:
        """A transaction that begins with its first statement; the caller says `commit` or `rollback`."""
        return Transaction(self, write=write)

    def run(self, work: Callable[[Transaction], T], *, write: bool = True) -> T:
        """Run `work` in a transaction, again when the database says that two of them were in each other's way."""
        for attempt in range(_RETRIES):
            try:
                with self.transaction(write=write) as transaction:
                    return work(transaction)
            except exc.DBAPIError as error:
                if not self.is_clash(error) or attempt == _RETRIES - 1:
                    raise self.translated(error) from error
        raise AssertionError("unreachable")

    def is_clash(self, error: exc.DBAPIError) -> bool:
        """Whether the database asks to try the same transaction again (deadlock, serialization, lost connection)."""
        text = str(error.orig).lower()
        return error.connection_invalidated or any(word in text for word in ("deadlock", "serialize", "locked", "record has changed"))

    def translated(self, error: exc.DBAPIError) -> Exception:
        """The house's error for a database's."""
        if isinstance(error, exc.IntegrityError):
            return Conflict("The request conflicts with another that was made at the same time.")
        if isinstance(error, exc.OperationalError):
            return Unavailable("The database does not answer.")
        return error

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._local = threading.local()
        self.engine.dispose()

    # -- what a transaction uses -----------------------------------------------------------------

    def connection(self) -> sa.Connection:
        """This thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            connection = self.engine.connect()
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    def lock_writer(self) -> None:
        """On SQLite, wait for the turn to write; elsewhere the server sees to it."""
        if self.embedded:
            self._writer.acquire()

    def unlock_writer(self) -> None:
        if self.embedded:
            self._writer.release()

    def _sqlite_begin(self, connection: sa.Connection) -> None:
        write = connection.info.get("write", False)
        raw: Any = connection.connection.dbapi_connection
        raw.execute("BEGIN IMMEDIATE" if write else "BEGIN")


def _readable(url: str) -> sa.URL:
    """The URL, when there is a library for it; it may hold a password, so what is wrong is said without it."""
    try:
        made = sa.make_url(url)
        made.get_dialect().import_dbapi()
    except (exc.ArgumentError, ValueError):
        raise Invalid(
            "database.url is not the URL of a database: write postgresql+psycopg://USER:PASSWORD@HOST/NAME or "
            "mysql+pymysql://USER:PASSWORD@HOST/NAME, or nothing for SQLite in the state folder.", field="database.url",
        ) from None  # fmt: skip
    except ModuleNotFoundError as error:
        raise Invalid(f"database.url needs the Python library {error.name}, which is not installed.", field="database.url") from None
    return made


def _sqlite_connect(durability: str) -> Callable[[Any, Any], None]:
    level = {"full": "FULL", "process": "NORMAL", "none": "OFF"}[durability]

    def connect(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # transactions are begun by us, not guessed by the driver
        cursor = raw.cursor()
        for pragma in ("journal_mode=WAL", f"synchronous={level}", "foreign_keys=ON", "busy_timeout=30000", "cache_size=-16000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return connect
