"""What all tests share."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy

from pilvi.kernel.testing import databases

# Python 3.11 may not parse in two threads at once, and parses to underline parts of a traceback's lines; tests that kill
# workers have tracebacks in many threads, while pytest parses in its own.
if hasattr(traceback, "_extract_caret_anchors_from_line_segment"):
    traceback._extract_caret_anchors_from_line_segment = lambda segment: None  # type: ignore[attr-defined]

os.environ.setdefault("PYTHONWARNINGS", "default")

# Each cloud has a database of its own, and SQLAlchemy would compile all statements anew for each: a third of what the tests' clouds cost.
_make, _first = sqlalchemy.create_engine, {}


def _create_engine(url: Any, **options: Any) -> sqlalchemy.Engine:
    """An engine that shares what was compiled with all others of SQLite."""
    engine = _make(url, **options)
    if engine.dialect.name == "sqlite":
        first = _first.setdefault(engine.dialect.driver, engine)
        engine.dialect = engine.pool._dialect = first.dialect
        engine._compiled_cache = first._compiled_cache
    return engine


sqlalchemy.create_engine = _create_engine


@pytest.fixture(autouse=True)
def _databases_of_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """On a server, the databases of clouds in the test's folder are free for others when the test is over."""
    yield
    folder = getattr(request.node, "funcargs", {}).get("tmp_path")
    if folder is not None:
        databases.release(folder)
