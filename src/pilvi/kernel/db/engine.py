"""The engine: where connections come from, what each of them promises, and work that is run again when the database asks for it.

SQLite has one writer at a time.  On a server writers run beside each other at READ COMMITTED: each statement sees what is
committed, and who checks before they write locks what they checked (`Transaction.lock`, `Transaction.turn`).  Readers see
one moment everywhere.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc

from pilvi.kernel.db import dialects
from pilvi.kernel.db.rows import metadata
from pilvi.kernel.db.transaction import Transaction
from pilvi.kernel.errors import Conflict, Invalid, Unavailable

T = TypeVar("T")
_CLASHES = 5  # times at least that work is done which others come in the way of, and for as long as this (seconds)
_PATIENCE = 20.0
_LOSSES = 4  # times that a connection is looked for, with these pauses between
_PAUSES = (0.0, 0.1, 0.3, 0.6)
_WAIT_FOR_FREE = 10.0  # seconds


class Database:
    """A database by its URL (`sqlite:////path`, `postgresql+psycopg://...`, `mysql+pymysql://...`).

    `durability` (SQLite): "full" waits for the disk at every commit; "process" survives the death of the program at
    any moment but may lose the last commits when the machine itself loses power.
    `connections` (servers): how many are open at most for writers, and again as many for readers.
    """

    def __init__(self, url: str, *, durability: str = "full", connections: int = 10) -> None:
        self.url = _readable(url)
        self.embedded = self.url.get_backend_name() == "sqlite"
        self._local = threading.local()
        self._writer = threading.Lock()
        self._second_tries = threading.Lock()  # who was in another's way tries again when nobody else of this process does
        self._alone = dialects.ALONE.get(self.url.get_backend_name())  # nor of another one
        self._connections: list[sa.Connection] = []
        self._closed = False
        self.before_commit: list[Callable[[Transaction], None]] = []  # may still write, within the transaction
        self.after_commit: list[Callable[[Transaction], None]] = []
        if self.embedded:
            if self.url.database and self.url.database != ":memory:":
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = self.readers = sa.create_engine(
                self.url, poolclass=sa.pool.NullPool, connect_args={"check_same_thread": False, "timeout": 30}, query_cache_size=2000
            )
            event.listen(self.engine, "connect", _sqlite_connect(durability))
            event.listen(self.engine, "begin", self._sqlite_begin)
        else:
            self.engine = self._pool(connections, "READ COMMITTED")
            self.readers = self._pool(connections, "REPEATABLE READ")

    def _pool(self, connections: int, isolation: str) -> sa.Engine:
        """Connections to a server that are shared by all threads; each transaction holds one from its first statement to its end."""
        made = sa.create_engine(
            self.url, connect_args=dialects.connect_arguments(self.url), isolation_level=isolation, pool_size=connections, max_overflow=0,
            pool_timeout=_WAIT_FOR_FREE, pool_use_lifo=True, pool_reset_on_return=None, query_cache_size=2000,
        )  # fmt: skip
        event.listen(made, "connect", dialects.prepare_session(self.url))
        return made

    def create_tables(self) -> None:
        """Make every table that is not there; migrations do this on living clouds."""
        with self.engine.begin() as connection:
            metadata.create_all(connection)

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[Transaction]:
        """One transaction: committed when the block ends well, rolled back when it raises.

        Functions given to `Transaction.after_commit` run after the commit, outside of it.  What the database refuses is
        raised as an error of the house; the block is not run again: `run` does that.
        """
        transaction = self.begin(write=write)
        try:
            yield transaction
            transaction.end()
        except exc.SQLAlchemyError as error:
            transaction.rollback()
            raise self.translated(error) from error
        except BaseException:
            transaction.rollback()
            raise
        transaction.tell()

    def begin(self, *, write: bool = True) -> Transaction:
        """A transaction that begins with its first statement; the caller says `commit` or `rollback`."""
        return Transaction(self, write=write)

    def run(self, work: Callable[[Transaction], T], *, write: bool = True) -> T:
        """Run `work` in a transaction; again when it was in another's way, or the connection was lost before the commit."""
        clashes = losses = 0
        began = time.monotonic()
        while True:
            transaction = self.begin(write=write)
            try:
                with self._second_tries if clashes else nullcontext():
                    if clashes and write and self._alone is not None:
                        transaction.execute(self._alone)
                    done = work(transaction)
                    transaction.end()
            except exc.SQLAlchemyError as error:
                transaction.rollback()
                if self.is_loss(error):
                    losses += 1
                    if losses < _LOSSES:
                        time.sleep(_PAUSES[losses - 1])
                        continue
                elif self.is_clash(error):
                    clashes += 1
                    if clashes < _CLASHES or time.monotonic() - began < _PATIENCE:
                        time.sleep(random.uniform(0, 0.005 * 2 ** min(clashes, 6)))
                        continue
                raise self.translated(error) from error
            except BaseException:
                transaction.rollback()
                raise
            transaction.tell()
            return done

    def is_clash(self, error: exc.SQLAlchemyError) -> bool:
        """Whether the database asks to try the same transaction again: deadlock, a lock not had in time, serialization."""
        return isinstance(error, exc.DBAPIError) and dialects.is_clash(error.orig)

    def is_loss(self, error: exc.SQLAlchemyError) -> bool:
        """Whether there was no connection, or it was lost."""
        return isinstance(error, exc.DBAPIError) and (error.connection_invalidated or dialects.is_loss(error.orig))

    def translated(self, error: exc.SQLAlchemyError) -> Exception:
        """The house's error for a database's; the database's own words may hold values, so they are not passed on."""
        if isinstance(error, exc.IntegrityError):
            return Conflict("The request conflicts with another that was made at the same time.")
        if isinstance(error, exc.DataError):
            return Invalid("A value of the request is too long, too large, or holds characters that cannot be kept.")
        if self.is_clash(error):
            return Unavailable("Too many requests want to change the same at the same time; try again.")
        if isinstance(error, exc.TimeoutError):
            return Unavailable("The cloud is busy: no connection to its database became free in time.")
        if isinstance(error, (exc.OperationalError, exc.InterfaceError)) or self.is_loss(error):
            return Unavailable("The database does not answer.")
        return error

    def close(self) -> None:
        """Close all connections; none is opened after this."""
        self._closed = True
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._local = threading.local()
        self.engine.dispose()
        self.readers.dispose()

    # -- what a transaction uses -----------------------------------------------------------------

    def take(self, *, write: bool) -> sa.Connection:
        """A connection in a transaction, for this thread alone until it is given back; a writer of SQLite has the turn to write."""
        if self._closed:
            raise Unavailable("The program is stopping.")
        if getattr(self._local, "busy", False):
            raise AssertionError("this thread has a transaction open already: pass it on instead of opening another")
        if write and self.embedded:
            self._writer.acquire()
        try:
            connection = self._own() if self.embedded else (self.engine if write else self.readers).connect()
            connection.info["write"] = write
            connection.begin()
        except BaseException:
            if write and self.embedded:
                self._writer.release()
            raise
        self._local.busy = True
        return connection

    def give_back(self, connection: sa.Connection, *, write: bool) -> None:
        """The transaction has ended."""
        self._local.busy = False
        if not self.embedded:
            connection.close()
        elif write:
            self._writer.release()

    def _own(self) -> sa.Connection:
        """SQLite: this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            connection = self.engine.connect()
            self._local.connection = connection
            self._connections.append(connection)
        return connection

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
