"""Moving: all rows of a cloud from one database to another, without changing an id, and the proof that they are there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from pilvi.kernel.db.engine import Database
from pilvi.kernel.db.migrations import UNFINISHED, head, migrate, revision
from pilvi.kernel.db.rows import Json, metadata
from pilvi.kernel.errors import Conflict, PilviError, Unavailable

_ROWS = 1000  # copied at once

Progress = Callable[[str], None]
_mark = sa.Table(UNFINISHED, sa.MetaData(), sa.Column("source", sa.String(64), primary_key=True))


class Size(msgspec.Struct, frozen=True):
    """How much a table holds; `bytes` is None where the database does not tell."""

    table: str
    rows: int
    bytes: int | None


class Content(msgspec.Struct, frozen=True):
    """What a table holds: how many rows, and a sum over all of them in which their order does not matter."""

    rows: int
    checksum: str


def move(source: Database, target: Database, progress: Progress, *, before_end: Callable[[], None] = lambda: None) -> int:
    """Copy all rows of `source`, which nobody uses meanwhile, to `target`; answers how many they are.

    May be said again after it was interrupted: what is there and right is kept.  `before_end` is called when everything
    is proved to be there.  Raises Conflict when the target holds something else, PilviError when a table is not equal in the end.
    """
    if revision(source) != head():
        raise Conflict(
            f"the cloud's database is at revision {revision(source) or 'none'}, this program knows {head()}: start the cloud with this program once."
        )
    _prepare(source, target)
    total = 0
    tables = _tables(source)
    for number, table in enumerate(tables, 1):
        said = f"[{number}/{len(tables)}] {table.name}"
        want = content(source, table)
        total += want.rows
        if content(target, table) == want:
            progress(f"{said}: {want.rows} rows, there already" if want.rows else f"{said}: empty")
        else:
            progress(f"{said}: {want.rows} rows")
            _copy(source, target, table)
            have = content(target, table)
            if have != want:
                raise PilviError(f"the table {table.name} is not equal after it was copied: {want.rows} rows here, {have.rows} rows there.")
        _carry_on_numbers(source, target, table)
    before_end()
    with target.engine.begin() as connection:
        _mark.drop(connection)
    return total


def sizes(database: Database) -> list[Size]:
    """What each table holds, the largest first."""
    held = {table.name: (_count(database, table), _bytes(database, table)) for table in _tables(database)}
    return sorted((Size(name, rows, size) for name, (rows, size) in held.items()), key=lambda one: (-(one.bytes or 0), -one.rows, one.table))


def content(database: Database, table: sa.Table) -> Content:
    """Read the whole table."""
    rows, total = 0, 0
    for some in _read(database, table):
        rows += len(some)
        for row in some:
            digest = hashlib.blake2b(repr(tuple(map(_plain, row))).encode("utf-8", "surrogatepass"), digest_size=16)
            total = (total + int.from_bytes(digest.digest(), "big")) % (1 << 128)
    return Content(rows, f"{total:032x}")


def _plain(value: Any) -> Any:
    """One form of a value for all databases."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return value + 0.0  # not every database knows a zero below zero
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def _tables(database: Database) -> list[sa.Table]:
    """This program's tables that are there, by name; texts of JSON are left as they are."""
    with database.readers.connect() as connection:
        there = set(sa.inspect(connection).get_table_names())
    return [_raw(table) for name, table in sorted(metadata.tables.items()) if name in there]


def _raw(table: sa.Table) -> sa.Table:
    columns = [
        sa.Column(one.name, sa.Text() if isinstance(one.type, Json) else one.type, primary_key=one.primary_key, autoincrement=one.autoincrement)
        for one in table.columns
    ]
    return sa.Table(table.name, sa.MetaData(), *columns)


def _read(database: Database, table: sa.Table) -> Iterator[Sequence[Any]]:
    with database.readers.connect() as connection:
        found = connection.execution_options(stream_results=True).execute(sa.select(table))
        yield from found.partitions(_ROWS)
        connection.rollback()


def _prepare(source: Database, target: Database) -> None:
    """See that the target may be written: it is empty, or holds what was left of the same copy."""
    place = hashlib.sha256(source.url.render_as_string().encode()).hexdigest()
    try:
        with target.readers.connect() as connection:
            there = set(sa.inspect(connection).get_table_names())
            begun = connection.execute(sa.select(_mark.c.source)).scalar() if UNFINISHED in there else None
    except sa.exc.OperationalError as error:
        raise Unavailable(f"{shown(target)} does not answer, or does not let us in: {_words(error)}") from None
    if begun is not None:
        if begun != place:
            raise Conflict(f"{shown(target)} holds an unfinished copy of another cloud; give an empty database.")
        return
    if there and not (revision(target) == head() and all(_count(target, table) == 0 for table in _tables(target))):
        raise Conflict(f"{shown(target)} is not empty; give an empty database.")
    migrate(target)
    with target.engine.begin() as connection:
        _mark.create(connection, checkfirst=True)
        connection.execute(_mark.insert().values(source=place))


def _copy(source: Database, target: Database, table: sa.Table) -> None:
    """Have the target's table hold what the source's does: all of it, or what it held before."""
    with target.engine.begin() as connection:
        connection.execute(table.delete())
        for some in _read(source, table):
            connection.execute(table.insert(), [dict(row._mapping) for row in some])


def _carry_on_numbers(source: Database, target: Database, table: sa.Table) -> None:
    """Have the target go on counting where the source would, so that no number is given twice."""
    serial = table.autoincrement_column if any(column.autoincrement is True for column in table.columns) else None
    if serial is None:
        return
    with source.readers.connect() as connection:
        last = int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(serial), 0))).scalar() or 0)
        given = connection.exec_driver_sql(_LAST[_kind(source)].format(table=table.name, column=serial.name)).scalar()
        connection.rollback()
    last = max(last, int(given or 0))
    if not last:
        return
    with target.engine.begin() as connection:
        for words in _GO_ON[_kind(target)]:
            connection.exec_driver_sql(words.format(table=table.name, column=serial.name, last=last, next=last + 1))


# the last number that was given, and having it go on behind one
_LAST = {
    "sqlite": "SELECT seq FROM sqlite_sequence WHERE name = '{table}'",
    "postgresql": "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table}_{column}_seq",
    "mysql": "SELECT auto_increment - 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{table}'",
}
_GO_ON = {
    "sqlite": (
        "DELETE FROM sqlite_sequence WHERE name = '{table}'",
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('{table}', {last})",
    ),
    "postgresql": ("SELECT setval('{table}_{column}_seq', {last})",),
    "mysql": ("ALTER TABLE {table} AUTO_INCREMENT = {next}",),
}
_BYTES = {
    "sqlite": "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = '{table}')",
    "postgresql": "SELECT pg_total_relation_size('{table}')",
    "mysql": "SELECT data_length + index_length FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{table}'",
}


def _bytes(database: Database, table: sa.Table) -> int | None:
    try:
        with database.readers.connect() as connection:
            found = connection.exec_driver_sql(_BYTES[_kind(database)].format(table=table.name)).scalar()
            connection.rollback()
    except sa.exc.DBAPIError:  # an SQLite without dbstat
        return None
    return None if found is None else int(found)


def _count(database: Database, table: sa.Table) -> int:
    with database.readers.connect() as connection:
        found = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
        connection.rollback()
    return int(found or 0)


def _kind(database: Database) -> str:
    name = database.url.get_backend_name()
    return "mysql" if name == "mariadb" else name


def shown(database: Database) -> str:
    """Which database it is, without its password."""
    return str(database.url.database) if database.embedded else database.url.render_as_string(hide_password=True)


def _words(error: sa.exc.DBAPIError) -> str:
    """The library's own words, in one line."""
    return " ".join(str(error.orig).split())[:300]
