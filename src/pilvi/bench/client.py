"""A lean client for measuring: one kept connection, JSON in and out, as the cloud's administrator."""

from __future__ import annotations

import http.client
import json
from typing import Any

from pilvi.kernel.errors import PilviError

SERVERS = "/compute/v2.1/servers"


class Client:
    """One kept connection to the cloud on this machine; not to be shared by threads."""

    def __init__(self, port: int, token: str = "") -> None:
        self.port, self.token = port, token
        self._link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def log_in(self, password: str) -> None:
        """Take a token as `admin`."""
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        self.token = self.ask("POST", "/identity/v3/auth/tokens", body)[1]["x-subject-token"]

    def another(self) -> Client:
        """Another connection with the same token."""
        return Client(self.port, self.token)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; answers its JSON.  Raises PilviError with what was answered instead."""
        status, _, answered = self.ask(method, path, body)
        if status >= 400:
            raise PilviError(f"{method} {path}: {status} {answered[:300]!r}")
        return json.loads(answered) if answered else None

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], bytes]:
        """One request: its status, headers and body."""
        headers = {"X-Auth-Token": self.token, "OpenStack-API-Version": "compute 2.90", "Content-Type": "application/octet-stream"}
        if body is not None and not isinstance(body, bytes):
            headers["Content-Type"], body = "application/json", json.dumps(body).encode()
        self._link.request(method, path, body, headers)
        answer = self._link.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def image(self, name: str) -> str:
        """An image of 1 MB; answers its id."""
        ref = self.call("POST", "/image/v2/images", {"name": name, "disk_format": "raw", "container_format": "bare"})["id"]
        self.call("PUT", f"/image/v2/images/{ref}/file", b"\0" * 1_000_000)
        return ref

    def flavor(self, name: str) -> str:
        """The smallest flavor; answers its id."""
        return self.call("POST", "/compute/v2.1/flavors", {"flavor": {"name": name, "ram": 64, "vcpus": 1, "disk": 1}})["flavor"]["id"]

    def network(self, name: str, cidr: str) -> str:
        """A network with a subnet; answers its id."""
        ref = self.call("POST", "/network/v2.0/networks", {"network": {"name": name}})["network"]["id"]
        self.call("POST", "/network/v2.0/subnets", {"subnet": {"network_id": ref, "cidr": cidr, "ip_version": 4}})
        return ref

    def metric(self, name: str) -> float:
        """A metric's value, summed over its labels."""
        text = self.ask("GET", "/metrics")[2].decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{", 1)[0].split(" ", 1)[0] == name)
