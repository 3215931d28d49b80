"""What differs between the servers: connecting, sessions, error numbers, and the form of tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

LOCK_WAIT = 10  # seconds that a statement waits for a row that another transaction has written or locked
_CONNECT = 5  # seconds
_ANSWER = 300  # seconds for one statement
_IDLE = 10  # seconds of silence within a transaction: then its process is frozen or cut off, and its locks are given back
_UNIQUE = "utf8mb4_nopad_bin"

# PostgreSQL's SQLSTATE: serialization_failure, deadlock_detected, lock_not_available
_POSTGRESQL_CLASHES = frozenset({"40001", "40P01", "55P03"})
# connection exceptions, too many connections, cannot connect now, shut down by the administrator or a crash, too long idle in a transaction
_POSTGRESQL_LOSSES = frozenset({"53300", "57P01", "57P02", "57P03", "25P03"})
# MariaDB: deadlock, lock wait timeout, record has changed since last read
_MARIADB_CLASHES = frozenset({1213, 1205, 1020})
# too many connections, shutdown, killed; cannot connect, gone away, lost
_MARIADB_LOSSES = frozenset({1040, 1053, 1927, 2002, 2003, 2006, 2013})

# Waits until no other transaction of the database has said it and is not ended.  PostgreSQL looks for a deadlock only when
# somebody has waited for a second (deadlock_timeout); MariaDB sees it at once.
ALONE = {"postgresql": sa.text("SELECT pg_advisory_xact_lock(482918301)")}


def is_server(dialect: sa.Dialect) -> bool:
    return dialect.name != "sqlite"


def connect_arguments(url: sa.URL) -> dict[str, Any]:
    """What the library is told when it connects to a server."""
    if url.get_backend_name() == "postgresql":
        waits = f"-c lock_timeout={LOCK_WAIT}s -c idle_in_transaction_session_timeout={_IDLE}s -c statement_timeout={_ANSWER}s"
        return {"connect_timeout": _CONNECT, "application_name": "pilvi", "options": waits, "keepalives_idle": 30}
    told: dict[str, Any] = {"connect_timeout": _CONNECT, "read_timeout": _ANSWER, "write_timeout": _ANSWER, "charset": "utf8mb4"}
    if url.password is not None:
        told["password"] = str(url.password).encode()  # the library would take Latin-1
    return told


def prepare_session(url: sa.URL) -> Callable[[Any, Any], None]:
    """What is said on each connection before it is used."""

    def prepare(raw: Any, _record: Any) -> None:
        if url.get_backend_name() == "postgresql":
            return
        with raw.cursor() as cursor:
            cursor.execute(
                f"SET SESSION innodb_lock_wait_timeout={LOCK_WAIT}, SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', "
                f"SESSION collation_connection='{_UNIQUE}', SESSION wait_timeout=28800, SESSION idle_transaction_timeout={_IDLE}"
            )

    return prepare


def is_clash(error: Any) -> bool:
    """Whether the server asks to try the transaction again."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return state in _POSTGRESQL_CLASHES
    return _number(error) in _MARIADB_CLASHES or "database is locked" in str(error)


def is_loss(error: Any) -> bool:
    """Whether there is no connection to the server."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return state in _POSTGRESQL_LOSSES or state.startswith("08")
    if type(error).__module__.startswith("psycopg") and type(error).__name__ in ("OperationalError", "ConnectionTimeout"):
        return True  # it could not connect: the server had no chance to give a number
    return _number(error) in _MARIADB_LOSSES


def _number(error: Any) -> int | None:
    """MariaDB's number of an error."""
    arguments = getattr(error, "args", ())
    return arguments[0] if type(error).__module__.startswith("pymysql") and arguments and isinstance(arguments[0], int) else None


@compiles(sa.Text, "mysql", "mariadb")
def _text(element: sa.Text, compiler: Any, **options: Any) -> str:
    """Text without a bound, in tables and in revisions: MariaDB's TEXT ends at 64 KiB."""
    return "MEDIUMTEXT" if element.length is None else str(compiler.visit_TEXT(element, **options))


@compiles(CreateTable, "mysql", "mariadb")
def _create_table(element: CreateTable, compiler: Any, **options: Any) -> str:
    """MariaDB compares names as the others do: every character counts, its case and a space at the end too."""
    return f"{compiler.visit_create_table(element, **options).rstrip()} ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE={_UNIQUE}\n\n"
