"""Migrations: a new database and one that was taken through all revisions have the same tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from pilvi import program
from pilvi.kernel.db import Database, metadata
from pilvi.kernel.db.migrations import head, migrate, upgrade
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
