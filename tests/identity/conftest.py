"""A cloud of identity alone, with the real authentication, and people in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilvi import identity
from pilvi.identity.service import SERVICE
from pilvi.identity.settings import Settings
from pilvi.kernel import clock
from pilvi.kernel.config import KernelSettings
from pilvi.kernel.testing.cloud import Cloud, Told

TestSettings = msgspec.defstruct(
    "TestSettings", [("identity", Settings, msgspec.field(default_factory=Settings))], bases=(KernelSettings,), kw_only=True
)
ADMIN_PASSWORD = "opensesame"
DEFAULT = {"id": "default"}


class World:
    """A running identity service; `admin` is the administrator's token for their project."""

    def __init__(self, state: Path, **settings: Any) -> None:
        given = {"admin_password": ADMIN_PASSWORD, "hash_memory_kib": 64, "hash_time_cost": 1, **settings}
        self.cloud = Cloud(state, [SERVICE], TestSettings, roles=["api"], identity=given)
        self.program = self.cloud.program
        self.program.authenticate = lambda token: identity.authenticate(self.program, token)
        self.cloud.start()
        self.admin = self.token("admin", ADMIN_PASSWORD, project="admin")

    # -- speaking --------------------------------------------------------------------------------

    def say(self, method: str, path: str, body: Any = None, *, token: str | None = None, **options: Any) -> Told:
        return self.cloud.say(method, f"/identity/v3{path}", body, person=self.admin if token is None else token, **options)

    def get(self, path: str, token: str | None = None, **options: Any) -> Told:
        return self.say("GET", path, token=token, **options)

    def post(self, path: str, body: Any = None, token: str | None = None, **options: Any) -> Told:
        return self.say("POST", path, body, token=token, **options)

    def put(self, path: str, body: Any = None, token: str | None = None, **options: Any) -> Told:
        return self.say("PUT", path, body, token=token, **options)

    def patch(self, path: str, body: Any = None, token: str | None = None, **options: Any) -> Told:
        return self.say("PATCH", path, body, token=token, **options)

    def delete(self, path: str, token: str | None = None, **options: Any) -> Told:
        return self.say("DELETE", path, token=token, **options)

    # -- logging in ------------------------------------------------------------------------------

    def login(self, name: str, password: str, scope: Any = None, *, domain: str = "default", **options: Any) -> Told:
        user = {"name": name, "domain": {"id": domain}, "password": password}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if scope is not None:
            auth["scope"] = scope
        return self.post("/auth/tokens", {"auth": auth}, token="", **options)

    def exchange(self, token: str, scope: Any = None) -> Told:
        auth: dict[str, Any] = {"identity": {"methods": ["token"], "token": {"id": token}}}
        if scope is not None:
            auth["scope"] = scope
        return self.post("/auth/tokens", {"auth": auth}, token="")

    def token(self, name: str, password: str, *, project: str = "", domain: str = "", system: bool = False) -> str:
        scope: Any = {"project": {"name": project, "domain": DEFAULT}} if project else {"domain": {"id": domain}} if domain else None
        told = self.login(name, password, {"system": {"all": True}} if system else scope)
        assert told.status == 201, told
        return told.headers["x-subject-token"]

    def ask(self, subject: str, *, token: str | None = None, **options: Any) -> Told:
        return self.get("/auth/tokens", token=token, headers={"x-subject-token": subject}, **options)

    # -- making ----------------------------------------------------------------------------------

    def make(self, kind: str, **attributes: Any) -> dict[str, Any]:
        plural = {"registry": "registries"}.get(kind, f"{kind}s")
        told = self.post(f"/{plural}", {kind: attributes})
        assert told.status == 201, told
        return told.json()[kind]

    def role(self, name: str) -> str:
        return self.get("/roles", name=name).json()["roles"][0]["id"]

    def grant(self, user: str, role: str, *, project: str = "", domain: str = "") -> None:
        place = f"projects/{project}" if project else f"domains/{domain}" if domain else "system"
        told = self.put(f"/{place}/users/{user}/roles/{self.role(role)}")
        assert told.status == 204, told


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.cloud.stop()


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[World]:
    """A cloud that locks after two wrong passwords, and remembers two."""
    made = World(
        tmp_path, lockout_failure_attempts=2, lockout_duration=60, unique_last_password_count=2, password_regex=r"^.{4,}$",
        password_regex_description="at least four letters", password_expires_days=30,
    )  # fmt: skip
    yield made
    made.cloud.stop()


@pytest.fixture
def later() -> Iterator[Callable[[float], None]]:
    """Moves the clock on by so many seconds."""
    import time

    ahead = 0.0

    def move(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        clock.use(lambda: time.time() + ahead)

    yield move
    clock.use(None)


@pytest.fixture
def bob(world: World) -> dict[str, Any]:
    """A member of the project `lab`: user, project and token."""
    user = world.make("user", name="bob", password="bobs")
    project = world.make("project", name="lab")
    world.grant(user["id"], "member", project=project["id"])
    return {"user": user, "project": project, "token": world.token("bob", "bobs", project="lab")}
