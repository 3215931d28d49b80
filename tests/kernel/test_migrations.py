"""Migrations: a new database and one that was taken through all revisions have the same tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from pilvi import program
from pilvi.kernel.db import Database, metadata
from pilvi.kernel.db.migrations import VERSIONS, head, migrate, upgrade
from pilvi.kernel.errors import Unavailable
from pilvi.kernel.testing import databases


def differences(database: Database) -> list[object]:
    def ours(thing: object, name: str | None, kind: str, *_: object) -> bool:
        return not (kind == "table" and str(name).startswith("things_"))  # tables of other tests

    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": False})
        return compare_metadata(context, metadata)


def test_both_ways_end_in_the_same_tables(tmp_path: Path) -> None:
    assert program.SERVICES
    fresh, old = Database(databases.bare(tmp_path / "fresh")), Database(databases.bare(tmp_path / "old"))
    migrate(fresh)
    upgrade(old)
    assert differences(fresh) == []
    assert differences(old) == [], 'declare what changed by: scripts/migration "what changes"'
    fresh.close()
    old.close()


def test_said_again_nothing_happens(tmp_path: Path) -> None:
    database = Database(databases.bare(tmp_path))
    migrate(database)
    migrate(database)
    database.close()


def test_the_database_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    database = Database(databases.bare(tmp_path))
    migrate(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Unavailable, match="9999"):
        migrate(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM alembic_version"))
    with pytest.raises(Unavailable, match="no revision"):
        migrate(database)
    assert head() < "9999"
    database.close()


def test_a_start_that_was_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    """MariaDB commits after each table."""
    database = Database(databases.bare(tmp_path))
    migrate(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))
        for table in list(metadata.tables)[::3]:
            connection.execute(sa.text(f"DROP TABLE {table}"))
    migrate(database)
    assert differences(database) == []
    database.close()


def _filler(column: sa.Column[Any]) -> object:
    """A value that such a column may hold."""
    if isinstance(column.type, sa.Boolean):
        return True
    if isinstance(column.type, (sa.Integer, sa.Float, sa.Numeric)):
        return 1
    return b"x" if column.type.python_type is bytes else "1"


@pytest.mark.parametrize("revision", sorted(file.name[:4] for file in VERSIONS.glob("[0-9]*.py"))[:-1])
def test_the_rows_of_an_older_program_are_carried_over(tmp_path: Path, revision: str) -> None:
    """Whatever a table held before, its rows can be read by the classes of now: what they lacked has its default."""
    database = Database(databases.bare(tmp_path))
    upgrade(database, revision)
    old = sa.MetaData()
    with database.engine.begin() as connection:
        old.reflect(connection)
        held = [table for table in old.sorted_tables if table.name != "alembic_version"]
        for table in held:
            connection.execute(table.insert(), {column.name: _filler(column) for column in table.columns})
    upgrade(database)
    with database.engine.connect() as connection:
        for table in held:
            columns = [column for column in metadata.tables[table.name].columns if column.name not in table.columns]
            assert len(connection.execute(sa.select(sa.literal(1), *columns)).all()) == 1, table.name
    database.close()
