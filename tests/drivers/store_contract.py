"""The contract that every image store must keep."""

from __future__ import annotations

import pytest

from pilvi.image.stores import Store
from pilvi.kernel.errors import NotFound

ONE, TWO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def put(store: Store, image_id: str, *parts: bytes) -> int:
    writer = store.begin(image_id)
    for part in parts:
        writer.write(part)
    return writer.commit()


class StoreContract:
    """Subclass it with a fixture `store`."""

    def test_what_is_committed_is_there_whole(self, store: Store) -> None:
        assert put(store, ONE, b"hello ", b"", b"world") == 11
        assert store.size(ONE) == 11
        assert b"".join(store.read(ONE)) == b"hello world"
        assert store.observe() == [ONE]
        path = store.path(ONE)
        if path is not None:
            with open(path, "rb") as file:
                assert file.read() == b"hello world"

    def test_nothing_is_seen_before_commit_or_after_abort(self, store: Store) -> None:
        writer = store.begin(ONE)
        writer.write(b"x" * 100_000)
        assert store.observe() == [] and store.size(ONE) is None
        writer.abort()
        writer.abort()
        assert store.observe() == [] and store.size(ONE) is None
        with pytest.raises(NotFound):
            store.read(ONE)

    def test_abort_after_commit_does_nothing(self, store: Store) -> None:
        writer = store.begin(ONE)
        writer.write(b"kept")
        writer.commit()
        writer.abort()
        assert b"".join(store.read(ONE)) == b"kept"

    @pytest.mark.parametrize(
        ("start", "end", "wanted"),
        [(0, None, b"0123456789"), (3, None, b"3456789"), (3, 5, b"34"), (0, 0, b""), (5, 5, b""), (8, 99, b"89"), (99, None, b"")],
    )
    @pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
    def test_ranges(self, store: Store, start: int, end: int | None, wanted: bytes, chunk: int) -> None:
        put(store, ONE, b"0123456789")
        pieces = list(store.read(ONE, start, end, chunk))
        assert b"".join(pieces) == wanted
        assert all(0 < len(piece) <= chunk for piece in pieces)

    def test_remove_may_be_said_twice_and_spares_a_reader(self, store: Store) -> None:
        put(store, ONE, b"a" * 1000)
        put(store, TWO, b"b")
        reading = store.read(ONE, chunk=100)
        assert next(reading) == b"a" * 100
        store.remove(ONE)
        store.remove(ONE)
        assert len(b"".join(reading)) == 900
        assert store.observe() == [TWO]

    def test_a_second_commit_replaces(self, store: Store) -> None:
        first, second = store.begin(ONE), store.begin(ONE)
        first.write(b"first")
        second.write(b"second")
        second.commit()
        first.commit()
        assert b"".join(store.read(ONE)) == b"first"

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        assert put(store, ONE) == 0
        assert store.size(ONE) == 0 and list(store.read(ONE)) == [] and store.observe() == [ONE]
