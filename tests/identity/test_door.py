"""What identity does for the services above it, and for a new cloud."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilvi import identity
from pilvi.identity import keys
from pilvi.identity.bootstrap import AGENTS, bootstrap
from pilvi.identity.memory import LOOK_EVERY, of
from pilvi.identity.service import SERVICE, tidy
from pilvi.identity.tables import KeyRow, Project, Revocation, User
from pilvi.kernel.errors import Invalid, NotFound, Unauthenticated
from pilvi.kernel.http.access_rules import permits
from pilvi.kernel.testing.cloud import Cloud
from tests.identity.conftest import ADMIN_PASSWORD, TestSettings, World


def test_authenticate_tells_who_calls(world: World, bob: dict[str, Any]) -> None:
    caller = identity.authenticate(world.program, bob["token"])
    assert (caller.user_id, caller.user_name, caller.user_domain_name) == (bob["user"]["id"], "bob", "Default")
    assert (caller.project_id, caller.project_name, caller.project_domain_id) == (bob["project"]["id"], "lab", "default")
    assert caller.roles == {"member", "reader"}
    assert identity.authenticate(world.program, bob["token"]) is caller
    for rubbish in ("", "x", "gAAAAA", "\udcff", bob["token"][:-1], "ä"):
        with pytest.raises(Unauthenticated):
            identity.authenticate(world.program, rubbish)


def test_the_clouds_own_token(world: World, later: Callable[[float], None]) -> None:
    token = identity.agents_token(world.program, seconds=7200)
    assert {"admin", "service"} <= identity.authenticate(world.program, token).roles
    later(7000)
    assert identity.authenticate(world.program, token).project_name == "service"
    later(300)
    with pytest.raises(Unauthenticated):
        identity.authenticate(world.program, token)


def test_endpoints_and_names(world: World, bob: dict[str, Any]) -> None:
    assert identity.endpoint(world.program, "identity") == "http://127.0.0.1:8765/identity/v3"
    with world.program.db.transaction(write=False) as tx:
        ctx = world.program.context(tx)
        assert identity.endpoint(ctx, "identity", "public") == "http://127.0.0.1:8765/identity/v3"
        assert identity.names(tx, [bob["project"]["id"], "none"]) == {bob["project"]["id"]: "lab"}
        assert identity.project_exists(tx, bob["project"]["id"])
        assert not identity.project_exists(tx, "none")
        with pytest.raises(NotFound):
            identity.endpoint(ctx, "weather")


def test_a_new_cloud_begins_the_same_way_twice(world: World) -> None:
    def count() -> tuple[int, ...]:
        with world.program.db.transaction(write=False) as tx:
            return tuple(tx.count(kind) for kind in (User, Project, KeyRow))

    before = count()
    bootstrap(world.program)
    assert count() == before
    assert world.get("/auth/projects").status == 200


def test_the_catalog_follows_the_settings(world: World, tmp_path: Path) -> None:
    world.cloud.stop()
    settings = {"identity": {"hash_memory_kib": 64}, "api": {"public_url": "https://cloud.example"}}
    again = Cloud(tmp_path, [SERVICE], TestSettings, roles=["api"], **settings).start()
    assert identity.endpoint(again.program, "identity", "public") == "https://cloud.example/identity/v3"
    assert identity.authenticate(again.program, world.admin).user_name == "admin"  # keys and tokens outlive the program
    again.stop()


def test_a_random_admin_password_is_written_for_the_operator_only(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path, [SERVICE], TestSettings, roles=["api"], identity={"hash_memory_kib": 64}).start()
    file = tmp_path / "admin-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    user = {"name": "admin", "domain": {"id": "default"}, "password": file.read_text().strip()}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    assert cloud.post("/identity/v3/auth/tokens", body, person="nobody").status == 201
    assert stat.S_IMODE((tmp_path / "identity-secret").stat().st_mode) == 0o600
    cloud.stop()


def test_what_a_killed_program_left_is_swept(tmp_path: Path) -> None:
    for name, age in ((".secret-old", 100), (".secret-new", 0)):
        file = tmp_path / name
        file.write_text("half")
        os.utime(file, (time.time() - age, time.time() - age))
    assert keys.written_once(tmp_path / "secret", "first") == "first"
    assert keys.written_once(tmp_path / "secret", "second") == "first"
    assert sorted(file.name for file in tmp_path.iterdir()) == [".secret-new", "secret"]


def test_another_process_hears_of_a_change_soon(world: World, bob: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LOOK_EVERY <= 2
    monkeypatch.setattr("pilvi.identity.memory.LOOK_EVERY", 0.0)
    other = Cloud(tmp_path, [SERVICE], TestSettings, roles=["api"], identity={"hash_memory_kib": 64}).start()
    assert identity.authenticate(other.program, bob["token"]).user_name == "bob"
    world.patch(f"/users/{bob['user']['id']}", {"user": {"enabled": False}})
    with pytest.raises(Unauthenticated):
        identity.authenticate(other.program, bob["token"])
    other.stop()


def test_a_failed_login_makes_nobody_forget(world: World, bob: dict[str, Any]) -> None:
    identity.authenticate(world.program, bob["token"])
    recall = of(world.program).recall
    world.login("bob", "wrong")
    assert of(world.program).recall is recall


def test_token_keys_change_and_old_tokens_stay_good(world: World, bob: dict[str, Any], later: Callable[[float], None]) -> None:
    later(8 * 86400)
    admin = world.token("admin", ADMIN_PASSWORD, project="admin")
    tidy(world.program)
    later(40)
    of(world.program).forget()
    fresh = world.token("bob", "bobs", project="lab")
    for token in (admin, fresh):
        assert identity.authenticate(world.program, token)
    with world.program.db.transaction(write=False) as tx:
        assert tx.count(KeyRow, KeyRow.c.purpose == keys.TOKEN) == 2
    later(8 * 86400)
    tidy(world.program)
    with world.program.db.transaction(write=False) as tx:
        rows = tx.all(KeyRow, KeyRow.c.purpose == keys.TOKEN)
    assert len(rows) == 2
    assert identity.authenticate(world.program, world.token("bob", "bobs", project="lab"))


def test_revocations_are_forgotten_when_their_tokens_are_over(world: World, bob: dict[str, Any], later: Callable[[float], None]) -> None:
    world.delete("/auth/tokens", token=bob["token"], headers={"x-subject-token": bob["token"]})
    events = world.get("/OS-REVOKE/events").json()["events"]
    assert "audit_id" in events[-1]
    tidy(world.program)
    with world.program.db.transaction(write=False) as tx:
        assert tx.count(Revocation) == len(events)
    later(4 * 86400)
    tidy(world.program)
    with world.program.db.transaction(write=False) as tx:
        assert tx.count(Revocation) == 0


def test_keys_of_another_secret_are_refused_by_name(world: World) -> None:
    from cryptography.fernet import Fernet

    with world.program.db.transaction(write=False) as tx, pytest.raises(Invalid, match=r"identity\.secret"):
        keys.ring(tx, Fernet(Fernet.generate_key()), keys.TOKEN)


def test_agents_tokens_are_good_for_images_data_only(world: World) -> None:
    caller = identity.authenticate(world.program, identity.agents_token(world.program))
    assert caller.access_rules is not None
    assert permits(caller.access_rules, {"image"}, "GET", "/v2/images/one/file")
    refused = [
        ("identity", "GET", "/v3/users"), ("image", "DELETE", "/v2/images/one"), ("image", "GET", "/v2/images"),
        ("compute", "GET", "/v2.1/servers"),
    ]  # fmt: skip
    assert not any(permits(caller.access_rules, {service}, method, path) for service, method, path in refused)


def test_nobody_logs_in_as_the_agents(world: World) -> None:
    for secret in ("", "nobody has this password", "x"):
        methods = {"methods": ["application_credential"], "application_credential": {"id": AGENTS, "secret": secret}}
        assert world.cloud.post("/identity/v3/auth/tokens", {"auth": {"identity": methods}}, person="nobody").status == 401
