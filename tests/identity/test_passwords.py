"""Passwords: changed by their owner, refused, locked, slowed."""

from __future__ import annotations

from collections.abc import Callable

from pilvi.identity.logic.passwords import Hasher
from pilvi.identity.settings import Settings
from pilvi.identity.tables import Password
from tests.identity.conftest import World


def _change(world: World, user_id: str, old: str, new: str) -> int:
    return world.post(f"/users/{user_id}/password", {"user": {"original_password": old, "password": new}}, token="").status


def test_a_user_changes_their_own_password(strict: World) -> None:
    user = strict.make("user", name="u", password="first")
    token = strict.token("u", "first")
    assert _change(strict, user["id"], "wrong", "second") == 401
    assert _change(strict, user["id"], "first", "second") == 204
    assert strict.get("/auth/projects", token=token).status == 401
    assert strict.login("u", "first").status == 401
    assert strict.login("u", "second").status == 201


def test_the_last_passwords_are_not_taken_again(strict: World) -> None:
    user = strict.make("user", name="u", password="first")
    assert _change(strict, user["id"], "first", "first") == 400
    assert _change(strict, user["id"], "first", "second") == 204
    assert _change(strict, user["id"], "second", "first") == 400
    assert _change(strict, user["id"], "second", "third") == 204
    assert _change(strict, user["id"], "third", "first") == 204
    assert strict.patch(f"/users/{user['id']}", {"user": {"password": "first"}}).status == 200  # an administrator may


def test_the_form_of_a_password_can_be_asked_for(strict: World) -> None:
    user = strict.make("user", name="u", password="first")
    told = strict.post(f"/users/{user['id']}/password", {"user": {"original_password": "first", "password": "abc"}}, token="")
    assert told.status == 400
    assert "at least four letters" in told.json()["error"]["message"]
    assert strict.post("/users", {"user": {"name": "v", "password": "abc"}}).status == 400


def test_two_wrong_passwords_lock_the_user_for_a_while(strict: World, later: Callable[[float], None]) -> None:
    strict.make("user", name="u", password="first")
    assert [strict.login("u", word).status for word in ("a", "b", "first")] == [401, 401, 401]
    later(61)
    assert strict.login("u", "first").status == 201
    assert [strict.login("u", word).status for word in ("a", "first", "b", "first")] == [401, 201, 401, 201]


def test_a_user_can_be_spared_the_lock(strict: World) -> None:
    strict.make("user", name="u", password="first", options={"ignore_lockout_failure_attempts": True})
    assert [strict.login("u", word).status for word in ("a", "b", "first")] == [401, 401, 201]


def test_guessing_is_slowed_more_and_more(world: World, later: Callable[[float], None]) -> None:
    world.make("user", name="u", password="first")
    assert [world.login("u", "x").status for _ in range(6)] == [401] * 5 + [429]
    told = world.login("u", "first")
    assert told.status == 429
    assert int(told.headers["retry-after"]) == 1
    later(2)
    assert world.login("u", "x").status == 401
    assert int(world.login("u", "x").headers["retry-after"]) == 2
    later(3)
    assert world.login("u", "first").status == 201
    assert world.login("u", "x").status == 401
    assert [world.login("nobody", "x").status for _ in range(6)] == [401] * 5 + [429]


def test_a_password_expires_and_can_still_be_changed(strict: World, later: Callable[[float], None]) -> None:
    user = strict.make("user", name="u", password="first")
    assert user["password_expires_at"] is not None
    spared = strict.make("user", name="v", password="first", options={"ignore_password_expiry": True})
    assert spared["password_expires_at"] is None
    later(31 * 86400)
    assert strict.login("u", "first").status == 401
    assert strict.login("v", "first").status == 201
    assert _change(strict, user["id"], "first", "second") == 204
    assert strict.login("u", "second").status == 201


def test_a_locked_password_is_changed_by_administrators_only(world: World) -> None:
    user = world.make("user", name="u", password="first", options={"lock_password": True})
    assert _change(world, user["id"], "first", "second") == 403
    assert world.patch(f"/users/{user['id']}", {"user": {"password": "second"}}).status == 200
    assert world.login("u", "second").status == 201


def test_what_is_kept_is_no_password(world: World) -> None:
    user = world.make("user", name="u", password="plaintext")
    assert "password" not in user
    with world.program.db.transaction(write=False) as tx:
        rows = tx.all(Password, Password.c.user_id == user["id"])
    assert [row.hash.startswith("$argon2id$") for row in rows] == [True]
    assert b"plaintext" not in b"".join(file.read_bytes() for file in world.program.state.iterdir() if file.is_file())


def test_a_missing_user_has_no_password() -> None:
    hasher = Hasher(Settings(hash_memory_kib=64, hash_time_cost=1))
    assert not hasher.fits(None, "nobody has this password")
    assert hasher.fits(hasher.hash("x" * 4096), "x" * 4096)
    assert not hasher.fits("no hash at all", "x")
