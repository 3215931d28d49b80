"""A process that stands still within a transaction keeps its rows from the others for a while only."""

from __future__ import annotations

import time

import pytest

from pilvi.kernel.db import Database, Key, Row
from pilvi.kernel.errors import Unavailable
from pilvi.kernel.testing.servers import KINDS


class Lamp(Row, table="things_lamps"):
    name: Key
    lit: int = 0


@pytest.mark.parametrize("kind", list(KINDS))
def test_who_stands_still_loses_its_locks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilvi.kernel.db.dialects._IDLE", 1)
    with KINDS[kind]() as server:
        url = server.create("locks")
        frozen, lively = Database(url, durability="none"), Database(url, durability="none")
        try:
            frozen.create_tables()
            frozen.run(lambda tx: tx.insert(Lamp(name="l")))
            with pytest.raises(Unavailable), frozen.transaction() as tx:
                tx.update(Lamp, Lamp.c.name == "l", lit=1)
                began = time.monotonic()
                lively.run(lambda other: other.update(Lamp, Lamp.c.name == "l", lit=Lamp.c.lit + 2))
                assert 0.5 < time.monotonic() - began < 8
                tx.update(Lamp, Lamp.c.name == "l", lit=1)
            with frozen.transaction(write=False) as tx:  # it goes on with another connection
                assert tx.by(Lamp, Lamp.c.name, ["l"])[0].lit == 2
        finally:
            frozen.close()
            lively.close()
