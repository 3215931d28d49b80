"""Migrations: bring a database to the tables that this program knows.

An empty database gets the tables as they are declared; one of an older program is taken through the revisions in
`versions/` (Alembic's form), in order.  A test holds that both ways end in the same tables.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from pilvi.kernel import log
from pilvi.kernel.db.engine import Database
from pilvi.kernel.db.rows import metadata
from pilvi.kernel.errors import Unavailable

VERSIONS = Path(__file__).with_name("versions")
UNFINISHED = "pilvi_unfinished_copy"  # a table that is there while a cloud is being moved into the database
_BEGUN = "0000"  # the revision of a database whose tables are being made
_mark = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))


def head() -> str:
    """The newest revision's name: files in `versions/` begin with it."""
    return max((file.name[:4] for file in VERSIONS.glob("[0-9][0-9][0-9][0-9]_*.py")), default="")


def revision(database: Database) -> str:
    """The revision that the database is at; "" when it has none."""
    with database.readers.connect() as connection:
        there = "alembic_version" in sa.inspect(connection).get_table_names()
        found = connection.execute(sa.select(_mark.c.version_num)).scalar() if there else None
        connection.rollback()
    return str(found or "")


def migrate(database: Database) -> None:
    """Bring the database up to date; says nothing when it is.

    Raises Unavailable when it belongs to a newer program, or to none, or a cloud is being moved into it.
    """
    with database.engine.begin() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        current = connection.execute(sa.select(_mark.c.version_num)).scalar() if "alembic_version" in tables else None
        if current == _BEGUN or tables <= {_mark.name}:
            _make(connection)
            return
    if UNFINISHED in tables:
        raise Unavailable("the database holds a part of a cloud: `pilvi database move`, said again, copies the rest.")
    if current == head():
        return
    if not current:
        raise Unavailable("the database has tables but no revision: it is not one of this program's, or older than its first revision.")
    if current > head():
        raise Unavailable(f"the database is at revision {current}, this program knows {head()}: it belongs to a newer program.")
    log.info("migrating the database", have=current, want=head())
    upgrade(database)


def _make(connection: sa.Connection) -> None:
    """All tables.  MariaDB commits after each: one that was interrupted is gone on with."""
    _mark.create(connection, checkfirst=True)
    connection.execute(_mark.delete())
    connection.execute(_mark.insert().values(version_num=_BEGUN))
    metadata.create_all(connection)
    connection.execute(_mark.update().values(version_num=head()))


def upgrade(database: Database, to: str = "head") -> None:
    """Run all revisions that the database does not have, up to that one."""
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(VERSIONS.parent), version_locations=[str(VERSIONS)])

    def steps(revision: object, _context: MigrationContext) -> object:
        return script._upgrade_revs(to, revision)  # type: ignore[arg-type]  # noqa: SLF001

    from alembic.config import Config

    with EnvironmentContext(Config(), script, fn=steps) as environment, database.engine.begin() as connection:  # type: ignore[arg-type]
        environment.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        environment.run_migrations()
