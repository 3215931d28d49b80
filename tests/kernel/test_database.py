"""Rows, transactions and pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilvi.kernel.db import Database, Key, Row, Serial
from pilvi.kernel.db.pages import Window, page
from pilvi.kernel.errors import Conflict, Invalid, Unavailable
from pilvi.kernel.testing import databases


class Star(Row, table="things_stars", indexes=[("sky",)], unique=[("sky", "name")]):
    id: Key
    sky: str
    name: str
    magnitude: float | None = None
    planets: list[str] = []
    seen: bool = False


class Sighting(Row, table="things_sightings"):
    id: Serial = 0
    star: str


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(databases.url(tmp_path), durability="none")
    made.create_tables()
    yield made
    made.close()


def star(number: int, **more: object) -> Star:
    return Star(id=f"s{number}", sky="north", name=f"star {number}", **more)  # type: ignore[arg-type]


def test_what_goes_in_comes_out(database: Database) -> None:
    vega = star(1, magnitude=0.03, planets=["a", "☃"], seen=True)
    with database.transaction() as tx:
        tx.insert(vega)
    with database.transaction(write=False) as tx:
        assert tx.get(Star, "s1") == vega
        assert tx.get(Star, "s2") is None
        assert tx.one(Star, Star.c.name == "star 1") == vega
        assert tx.count(Star, Star.c.seen.is_(True)) == 1


def test_names_differ_by_every_character(database: Database) -> None:
    names = ["a", "A", "a ", " a", "ä", "Ä", "a\u0308", "ﬁ", "fi", "ß", "ss", "\U0001f4a9", "\U0001f4a8", "", " "]
    with database.transaction() as tx:
        tx.insert_all([Star(id=name or "none", sky="north", name=name) for name in names])
    with database.transaction(write=False) as tx:
        assert [tx.count(Star, Star.c.name == name) for name in names] == [1] * len(names)
        assert tx.get(Star, "A") is not None
        ordered = [row.name for row in tx.all(Star, order=[Star.c.name])]
        assert ordered == sorted(names)


def test_long_values_fit(database: Database) -> None:
    with database.transaction() as tx:
        tx.insert(star(1, planets=["☃" * 100_000]))
    with database.transaction(write=False) as tx:
        row = tx.get(Star, "s1")
    assert row is not None
    assert row.planets == ["☃" * 100_000]


def test_what_does_not_fit_is_a_refusal_and_not_cut(database: Database) -> None:
    long = Star(id="long", sky="north", name="x" * 300)
    if database.embedded:
        with database.transaction() as tx:
            assert tx.insert(long).name == long.name  # SQLite has no bound
        return
    with pytest.raises(Invalid, match="too long"), database.transaction() as tx:
        tx.insert(long)
    with pytest.raises(Invalid, match="too long"):
        database.run(lambda tx: tx.insert(Star(id="y" * 65, sky="north", name="y")))


def test_a_part_that_fails_leaves_the_rest(database: Database) -> None:
    with database.transaction() as tx:
        tx.insert(star(1))
        with pytest.raises(Conflict), tx.attempt():
            tx.insert(star(2))
            tx.insert(star(1))
        tx.insert(star(3))
    with database.transaction(write=False) as tx:
        assert {row.id for row in tx.all(Star)} == {"s1", "s3"}


def test_an_update_counts_what_it_finds_also_when_it_changes_nothing(database: Database) -> None:
    with database.transaction() as tx:
        row = tx.insert(star(1, magnitude=1.0))
        assert tx.update(Star, Star.c.id == "s1", magnitude=1.0) == 1
        tx.change(row, expect={"magnitude": 1.0}, magnitude=1.0)
        assert tx.put(row) is row
        assert tx.count(Star) == 1


def test_a_reader_sees_one_moment(database: Database) -> None:
    with database.transaction() as tx:
        tx.insert(star(1))

    def write() -> None:
        with database.transaction() as tx:
            tx.insert(star(2))

    with database.transaction(write=False) as tx:
        assert tx.count(Star) == 1
        other = threading.Thread(target=write)
        other.start()
        other.join()
        assert tx.count(Star) == 1
    with database.transaction(write=False) as tx:
        assert tx.count(Star) == 2


def test_after_its_end_a_database_opens_nothing(database: Database) -> None:
    database.close()
    with pytest.raises(Unavailable), database.transaction() as tx:
        tx.count(Star)


def test_all_of_a_transaction_or_nothing(database: Database) -> None:
    told: list[str] = []

    def torn() -> None:
        with database.transaction() as tx:
            tx.insert(star(1))
            tx.after_commit(lambda: told.append("committed"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        torn()
    with database.transaction(write=False) as tx:
        assert tx.count(Star) == 0
    assert told == []


def test_serial_keys_are_given_by_the_database(database: Database) -> None:
    with database.transaction() as tx:
        first, second = tx.insert(Sighting(star="s1")), tx.insert(Sighting(star="s1"))
        tx.insert_all([Sighting(star="s2"), Sighting(star="s3")])
        assert 0 < first.id < second.id
        assert tx.count(Sighting) == 4


def test_two_of_one_name_are_a_conflict(database: Database) -> None:
    with database.transaction() as tx:
        tx.insert(star(1))
    twin = Star(id="s9", sky="north", name="star 1")
    with pytest.raises(Conflict), database.transaction() as tx:
        tx.insert(twin)


def test_compare_and_set(database: Database) -> None:
    with database.transaction() as tx:
        row = tx.insert(star(1))
        tx.change(row, expect={"magnitude": None, "name": ("star 1", "star 2")}, magnitude=1.0)
        with pytest.raises(Conflict):
            tx.change(row, expect={"magnitude": None}, magnitude=2.0)
    with database.transaction(write=False) as tx:
        kept = tx.get(Star, "s1")
    assert kept is not None
    assert kept.magnitude == 1.0


def test_many_writers_take_turns(database: Database) -> None:
    with database.transaction() as tx:
        tx.insert(star(1, magnitude=0.0))

    def add() -> None:
        for _ in range(50):
            with database.transaction() as tx:
                row = tx.lock(Star, "s1")
                assert row is not None
                tx.change(row, magnitude=(row.magnitude or 0) + 1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.transaction(write=False) as tx:
        row = tx.get(Star, "s1")
    assert row is not None
    assert row.magnitude == 200


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_pages_hold_every_row_once_also_with_nulls(database: Database, down: bool, reverse: bool) -> None:
    with database.transaction() as tx:
        tx.insert_all([star(n, magnitude=[None, 1.0, 2.0][n % 3]) for n in range(20)])
    with database.transaction(write=False) as tx:
        whole = [row.id for row in page(tx, Star, window=Window(sort=(("magnitude", down),)))]
        assert len(whole) == 20
        seen: list[str] = []
        marker = None
        while True:
            part = page(tx, Star, window=Window(sort=(("magnitude", down),), limit=3, marker=marker, reverse=reverse))
            ids = [row.id for row in part]
            seen = ids + seen if reverse else seen + ids
            if not part.more:
                break
            marker = ids[0] if reverse else ids[-1]
    assert seen == whole


def test_a_wrong_sort_key_or_marker_is_invalid(database: Database) -> None:
    with database.transaction(write=False) as tx:
        with pytest.raises(Invalid, match="colour"):
            page(tx, Star, window=Window(sort=(("colour", False),)))
        with pytest.raises(Invalid, match="nobody"):
            page(tx, Star, window=Window(marker="nobody"))
