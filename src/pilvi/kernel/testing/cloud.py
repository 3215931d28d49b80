"""A cloud for tests: the program in this process, an empty database, fake drivers; one speaks to it as over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from pilvi.kernel.config import read
from pilvi.kernel.http import chain
from pilvi.kernel.http.request import Answer, Request
from pilvi.kernel.program import Program
from pilvi.kernel.service import Service
from pilvi.kernel.testing import databases, people


class Told:
    """An answer as a client gets it."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.headers.items()}
        body = answer.body
        self.content: bytes = body if isinstance(body, bytes) else b"" if body is None else b"".join(body)

    def json(self) -> Any:
        return msgspec.json.decode(self.content)

    def __repr__(self) -> str:
        return f"<{self.status} {self.content[:600].decode(errors='replace')}>"


class Cloud:
    """A running program.  `person` in calls is a name of `people.PEOPLE`, or a token of identity."""

    def __init__(self, state: Path, services: Sequence[Service], settings_type: type[Any], *, roles: Sequence[str] = (), **settings: Any) -> None:
        database = {"durability": "none", **databases.settings(state)}
        given = {"state": str(state), "host": "node1", "database": database, "bus": databases.bus(), **settings}
        if roles:
            given["roles"] = list(roles)
        self.program = Program(read(settings_type, None, {}, **given), services)
        self.mounts = {mount.prefix.strip("/"): mount for mount in self.program.mounts}
        self.program.authenticate = people.authenticate
        self.base = "http://cloud.test"

    def start(self) -> Cloud:
        self.program.start()
        return self

    def stop(self) -> None:
        self.program.stop()

    def say(
        self, method: str, path: str, body: Any = None, *, person: str = "member", headers: Mapping[str, str] | None = None,
        version: str = "", data: bytes | None = None, **query: Any,
    ) -> Told:  # fmt: skip
        """Send a request through the chain.  `version` is a microversion ("compute 2.90"); `query` the parameters."""
        path, _, asked = path.partition("?")
        first, _, rest = path.lstrip("/").partition("/")
        mount = self.mounts[first]
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if person and person != "nobody":
            sent.setdefault("x-auth-token", person)
        if version:
            sent["openstack-api-version"] = version
        if body is not None:
            data = msgspec.json.encode(body)
            sent.setdefault("content-type", "application/json")
        pairs = urlencode([(k, v) for k, v in query.items() if v is not None], doseq=True)
        request = Request(
            method, "/" + rest, "&".join(part for part in (asked, pairs) if part), sent, address="192.0.2.1", base_url=self.base, body=data or b"",
            prefix=f"/{first}",
        )
        return Told(chain.run(self.program, mount, request, mount.router.find(request.path)))

    def get(self, path: str, **options: Any) -> Told:
        return self.say("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Told:
        return self.say("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> Told:
        return self.say("PUT", path, body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> Told:
        return self.say("PATCH", path, body, **options)

    def delete(self, path: str, **options: Any) -> Told:
        return self.say("DELETE", path, **options)

    def wait(self, condition: Callable[[], Any], *, within: float = 10.0) -> Any:
        """The condition's first true value; AssertionError when it stays false for `within` seconds."""
        end = time.monotonic() + within
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not so within {within:g} s")
            time.sleep(0.005)
