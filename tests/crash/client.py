"""A client that asks whichever API process answers, and again when one dies."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

VERSIONS = {"compute": "compute 2.90", "volume": "volume 3.70"}


class Gone(Exception):
    """The process died before it answered, or none is there."""


class Client:
    """Speaks as one user, to the API processes on these ports of this machine."""

    def __init__(self, ports: Sequence[int], *, patience: float = 90.0) -> None:
        self.ports, self.patience = list(ports), patience
        self.token = ""
        self._next = 0

    def once(self, method: str, path: str, body: Any = None, *, data: bytes | None = None, timeout: float = 30.0) -> tuple[int, Any, dict[str, str]]:
        """One request: status, body, headers.  Raises Gone when no process lives to answer it."""
        for _ in self.ports:
            port = self.ports[self._next % len(self.ports)]
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
            try:
                link.connect()
            except OSError:  # this one is not there, another may be
                link.close()
                self._next += 1
                continue
            try:
                return self._say(link, method, path, body, data)
            finally:
                link.close()
        raise Gone

    def _say(self, link: http.client.HTTPConnection, method: str, path: str, body: Any, data: bytes | None) -> tuple[int, Any, dict[str, str]]:
        kind = "application/octet-stream" if data is not None else "application/json"
        headers = {"Content-Type": kind, "X-Auth-Token": self.token}
        version = VERSIONS.get(path.split("/")[1])
        if version:
            headers["OpenStack-API-Version"] = version
        try:
            link.request(method, path, body=data if data is not None else json.dumps(body) if body is not None else None, headers=headers)
            answer = link.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._next += 1
            raise Gone from error
        told = json.loads(content) if content and "json" in answer.headers.get("content-type", "") else content
        return answer.status, told, {name.lower(): value for name, value in answer.headers.items()}

    def ask(self, method: str, path: str, body: Any = None, *, done: Callable[[], bool] | None = None, data: bytes | None = None) -> Any:
        """Ask until there is an answer; before it asks again it looks whether that was `done` without one."""
        end = time.monotonic() + self.patience
        told: Any = "no answer"
        while time.monotonic() < end:
            try:
                status, told, _ = self.once(method, path, body, data=data)
            except Gone:
                time.sleep(0.05)
                if done is not None and done():
                    return None
                continue
            if status == 503:
                time.sleep(0.1)
                continue
            if method == "DELETE" and status == 404:
                return None
            assert status < 300, f"{method} {path}: {status} {told}"
            return told
        raise AssertionError(f"{method} {path}: {told}")

    def log_in(self, user: str, password: str, project: str) -> None:
        """Become this user, in this project (both of the default domain)."""
        who = {"name": user, "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            try:
                status, told, headers = self.once("POST", "/identity/v3/auth/tokens", body)
            except Gone:
                time.sleep(0.05)
                continue
            if status == 503:
                time.sleep(0.1)
                continue
            assert status == 201, told
            self.token = headers["x-subject-token"]
            return
        raise AssertionError("nobody answers for a login")

    def named(self, path: str, key: str, name: str) -> str:
        """The id of the thing of that name, "" when there is none."""
        return next((one["id"] for one in self.ask("GET", path)[key] if one["name"] == name), "")
