"""A transaction: what a request reads and writes, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from pilvi.kernel.db.rows import Row
from pilvi.kernel.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from pilvi.kernel.db.engine import Database

R = TypeVar("R", bound=Row)
Where = Any  # a SQLAlchemy condition


class Uncertain(Unavailable):
    """The connection was lost while it committed: what was to be written is written, or not."""


class Transaction:
    """Reads and writes rows; begins with its first statement.

    `write` is said at the start, because SQLite has one writer: a reader never waits, a writer waits once.
    """

    def __init__(self, database: Database, *, write: bool) -> None:
        self.database = database
        self.write = write
        self.wrote: set[str] = set()
        self._connection: sa.Connection | None = None
        self._spoken = False  # a statement has been answered
        self._after: list[Callable[[], None]] = []

    # -- statements ------------------------------------------------------------------------------

    def execute(self, statement: Any, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run any SQLAlchemy statement."""
        connection = self._connection or self._open()
        if self._spoken:
            return connection.execute(statement, parameters)
        try:
            result = connection.execute(statement, parameters)
        except exc.DBAPIError as error:
            if not self.database.is_loss(error):
                raise
            connection.invalidate()  # it was dead before this transaction, of which nothing is lost
            self._close()
            result = self._open().execute(statement, parameters)
        self._spoken = True
        return result

    def rows(self, statement: Any, parameters: Any = None) -> list[Any]:
        """All result rows of a statement, as tuples with names."""
        return list(self.execute(statement, parameters))

    def scalar(self, statement: Any) -> Any:
        """The first column of the first row, None when there is none."""
        return self.execute(statement).scalar()

    # -- rows ------------------------------------------------------------------------------------

    def get(self, kind: type[R], *key: Any) -> R | None:
        """The row of that key, or None."""
        row = self.execute(kind.by_key, dict(zip(kind.keys, key, strict=True))).first()
        return None if row is None else kind.load(row)

    def lock(self, kind: type[R], *key: Any) -> R | None:
        """The row of that key as it is committed; until this transaction ends nobody else changes, deletes, locks or holds it.

        Said before what is checked, where a check is followed by a write.  SQLite has one writer anyhow.
        """
        row = self.execute(kind.by_key.with_for_update(), dict(zip(kind.keys, key, strict=True))).first()
        return None if row is None else kind.load(row)

    def get_to_change(self, kind: type[R], *key: Any) -> R | None:
        """As `lock` where this transaction writes, as `get` where it only reads: for what is looked at and then, perhaps, changed."""
        return self.lock(kind, *key) if self.write and not self.database.embedded else self.get(kind, *key)

    def hold(self, kind: type[Row], *key: Any) -> bool:
        """Whether the row of that key is there; until this transaction ends nobody else deletes it.

        For what is written because the row is there: who deletes it says `lock` before looking for what needs it.
        SQLite's one writer has read it in this transaction, and is not asked again.
        """
        if self.database.embedded:
            return True
        held = kind.by_key.with_for_update(read=True, key_share=True)
        return self.execute(held, dict(zip(kind.keys, key, strict=True))).first() is not None

    def get_to_build_on(self, kind: type[R], *key: Any) -> R | None:
        """As `get`; where this transaction writes, as `hold`: for what is looked at and then, perhaps, referred to."""
        if not self.write or self.database.embedded:
            return self.get(kind, *key)
        row = self.execute(kind.by_key.with_for_update(read=True, key_share=True), dict(zip(kind.keys, key, strict=True))).first()
        return None if row is None else kind.load(row)

    def hold_all(self, kind: type[Row], keys: Iterable[Any]) -> None:
        """`hold` for those of the rows that are there, in the order in which all take them; look afterwards which they are."""
        for key in sorted(set(keys)):
            self.hold(kind, key)

    def lock_all(self, kind: type[R], *where: Where) -> list[R]:
        """All rows that fit, each as by `lock`, in the order of their keys.

        What is added while this waits is not among them: what they belong to is locked first, by a statement of its own.
        """
        statement = sa.select(kind.t).where(*where).order_by(*(kind.c[name] for name in kind.keys))
        return self.load(kind, statement.with_for_update())

    def one(self, kind: type[R], *where: Where) -> R | None:
        """The first row that fits, or None."""
        row = self.execute(sa.select(kind.t).where(*where).limit(1)).first()
        return None if row is None else kind.load(row)

    def all(self, kind: type[R], *where: Where, order: Sequence[Any] = (), limit: int | None = None) -> list[R]:
        """All rows that fit."""
        statement = sa.select(kind.t).where(*where)
        if order:
            statement = statement.order_by(*order)
        if limit is not None:
            statement = statement.limit(limit)
        load = kind.load
        return [load(row) for row in self.execute(statement)]

    def load(self, kind: type[R], statement: Any, parameters: Any = None) -> list[R]:
        """All rows of a statement that selects `kind.t`."""
        load = kind.load
        return [load(row) for row in self.execute(statement, parameters)]

    def by(self, kind: type[R], column: Any, values: Iterable[Any], *where: Where) -> list[R]:
        """All rows whose `column` is among the values, asked in chunks that every database accepts."""
        wanted = list(dict.fromkeys(values))
        found: list[R] = []
        for start in range(0, len(wanted), 500):
            found += self.all(kind, column.in_(wanted[start : start + 500]), *where)
        return found

    def count(self, kind: type[Row], *where: Where) -> int:
        return int(self.scalar(sa.select(sa.func.count()).select_from(kind.t).where(*where)) or 0)

    def sum(self, column: Any, *where: Where) -> int:
        return int(self.scalar(sa.select(sa.func.coalesce(sa.func.sum(column), 0)).where(*where)) or 0)

    def insert(self, row: R) -> R:
        """Add a row; a second one of the same key is a Conflict."""
        values = row.values()
        table = type(row).t
        serial = table.autoincrement_column
        if serial is not None and not values[serial.name]:
            del values[serial.name]
        try:
            result = self.execute(table.insert(), values)
        except exc.IntegrityError as error:
            raise Conflict(f"{type(row).__name__} exists already.") from error
        self.wrote.add(table.name)
        if serial is not None:
            setattr(row, serial.name, result.inserted_primary_key[0])  # pyright: ignore[reportOptionalSubscript]
        return row

    def insert_all(self, rows: Sequence[Row]) -> None:
        """Add rows of one kind."""
        if not rows:
            return
        table = type(rows[0]).t
        values = [row.values() for row in rows]
        if table.autoincrement_column is not None:
            for one in values:
                del one[table.autoincrement_column.name]
        self.execute(table.insert(), values)
        self.wrote.add(table.name)

    def put(self, row: R) -> R:
        """Add the row, or overwrite the one of its key."""
        kind = type(row)
        values = row.values()
        key = [kind.c[name] == values[name] for name in kind.keys]
        changed = {name: value for name, value in values.items() if name not in kind.keys}
        found = self._update(kind, key, changed) if changed else self.count(kind, *key)
        self.wrote.add(kind.t.name)
        if found:
            return row
        if self.database.embedded:
            return self.insert(row)
        try:
            with self.attempt():
                return self.insert(row)
        except Conflict:  # another transaction has added it meanwhile
            if changed and not self._update(kind, key, changed):
                raise
        return row

    def change(self, row: R, *, expect: dict[str, Any] | None = None, **values: Any) -> R:
        """Write these columns of the row, here and in the database; values are plain, not SQL expressions.

        With `expect`, only when those columns still hold these values (a tuple: any of them), else Conflict:
        a compare-and-set.
        """
        kind = type(row)
        where = [kind.c[key] == getattr(row, key) for key in kind.keys]
        for name, wanted in (expect or {}).items():
            column = kind.c[name]
            where.append(_is(column, wanted))
        found = self._update(kind, where, values)
        if not found:
            raise Conflict(f"{kind.__name__} {getattr(row, kind.keys[0])} was changed by another request at the same time.")
        self.wrote.add(kind.t.name)
        for name, value in values.items():
            setattr(row, name, value)
        return row

    def update(self, kind: type[Row], *where: Where, **values: Any) -> int:
        """Write these columns of all rows that fit; answers how many."""
        self.wrote.add(kind.t.name)
        return self._update(kind, where, values)

    def delete(self, kind: type[Row], *where: Where) -> int:
        """Delete all rows that fit; answers how many."""
        self.wrote.add(kind.t.name)
        return self.execute(kind.t.delete().where(*where)).rowcount

    def remove(self, row: Row) -> None:
        """Delete this row."""
        kind = type(row)
        self.delete(kind, *(kind.c[key] == getattr(row, key) for key in kind.keys))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part that may raise by itself: its writes are taken back, and the transaction can go on."""
        connection = self._connection or self._open()
        with connection.begin_nested():
            yield

    # -- the end ---------------------------------------------------------------------------------

    def after_commit(self, work: Callable[[], None]) -> None:
        """Do this once the transaction has been committed, never when it was not."""
        self._after.append(work)

    def commit(self) -> None:
        """Make it so; then run what waits for the commit."""
        try:
            self.end()
        except BaseException:
            self.rollback()
            raise
        self.tell()

    def end(self) -> None:
        """Make it so; `tell` follows.  When it raises, `rollback` follows."""
        if self._connection is not None:
            for hook in self.database.before_commit if self.wrote else ():
                hook(self)
            self._commit(self._connection)
            self._close()

    def tell(self) -> None:
        """It has been committed: run what waited for that."""
        for hook in self.database.after_commit if self.wrote else ():
            hook(self)
        after, self._after = self._after, []
        for work in after:
            work()

    def rollback(self) -> None:
        """Forget it."""
        self._after.clear()
        if self._connection is not None:
            try:
                self._connection.rollback()
            except exc.DBAPIError:
                self._connection.invalidate()  # it is thrown away, and with it what was written
            finally:
                self._close()

    @property
    def is_open(self) -> bool:
        """Whether a statement has been run, and neither commit nor rollback said."""
        return self._connection is not None

    def _open(self) -> sa.Connection:
        self._connection = self.database.take(write=self.write)
        return self._connection

    def _commit(self, connection: sa.Connection) -> None:
        try:
            connection.commit()
        except exc.DBAPIError as error:
            if not self.write or not error.connection_invalidated:
                raise
            raise Uncertain("The database was lost during the commit; look whether it was done before you ask again.") from error

    def _update(self, kind: type[Row], where: Sequence[Where], values: dict[str, Any]) -> int:
        """Plain values are parameters, so that the statement is compiled once; expressions are part of it."""
        statement = kind.t.update().where(*where)
        if any(isinstance(value, sa.ClauseElement) for value in values.values()):
            return self.execute(statement.values(**values)).rowcount
        return self.execute(statement, values).rowcount

    def _close(self) -> None:
        connection, self._connection, self._spoken = self._connection, None, False
        if connection is not None:
            self.database.give_back(connection, write=self.write)


def _is(column: Any, wanted: Any) -> Any:
    """The condition that `column` holds `wanted`, or one of several; None is NULL."""
    if isinstance(wanted, (tuple, list, set, frozenset)):
        plain = [value for value in wanted if value is not None]
        condition = column.in_(plain)
        return sa.or_(condition, column.is_(None)) if len(plain) < len(wanted) else condition
    return column.is_(None) if wanted is None else column == wanted
