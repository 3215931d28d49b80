"""A cloud in a laboratory: a controller with the control roles, and hosts that join it as real ones do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence

from pilvi.kernel.errors import HostError
from pilvi.laboratory import STATE, WIRE, Host, Laboratory

CONTROL = ("api", "scheduler", "conductor", "console")
_JOIN = re.compile(r"pilvi join (\S+) --token (\S+)")


class Cloud:
    """Brought up and grown by the commands that a person would use on each host; each step looks what is there already.

    `environment` holds settings of all hosts (`PILVI_NETWORK__HEAL_EVERY`), with which their programs are started.
    """

    def __init__(
        self, laboratory: Laboratory, *, controller: str = "controller", roles: Sequence[str] = CONTROL, environment: Mapping[str, str] | None = None
    ) -> None:
        self.laboratory, self.controller = laboratory, laboratory.host(controller)
        self._roles, self._environment = list(roles), dict(environment or {})

    def up(self) -> str:
        """Have the controller's program running; answers what `pilvi up` printed."""
        config = self.controller.state / "pilvi.toml"
        if not config.exists():
            text = f"""\
host = "{self.controller.name}"
address = "{self.laboratory.address(self.controller.name)}"
roles = {json.dumps(self._roles)}

[tls]
enabled = true

[network]
bridge_mappings = {{ public = "{WIRE}" }}
"""
            fresh = config.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(config)
        return self._start(self.controller)

    def join(self, name: str) -> Host:
        """Have a host of the laboratory in the cloud, and its program running."""
        host = self.laboratory.host(name)
        config = host.state / "pilvi.toml"
        if config.exists():
            self._start(host)
            return host
        told = _JOIN.search(self.controller.pilvi("host", "add", name).stdout)
        if told is None:
            raise HostError(f"`pilvi host add {name}` did not print how to join.")
        token = host.state / "token"
        with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(told[2])
        host.pilvi("join", told[1], "--token", f"@{STATE}/token", "--no-start")
        token.unlink()
        self._start(host)
        return host

    def _start(self, host: Host) -> str:
        return host.pilvi("up", environment=self._environment).stdout.strip()
