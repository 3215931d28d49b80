"""Settings: one typed tree, read from `pilvi.toml` and the environment, declared by who uses them.

`PILVI_API__PORT=8080` sets `[api] port`.  Unknown names and wrong types are refused by name.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from pilvi.kernel.errors import Invalid


class DatabaseSettings(msgspec.Struct, forbid_unknown_fields=True):
    """Where rows are kept."""

    url: str = ""  # "": SQLite in the state folder
    durability: Literal["full", "process", "none"] = "full"  # SQLite: what a commit survives
    connections: int = 10  # servers: open at most for writers, and again as many for readers


class BusSettings(msgspec.Struct, forbid_unknown_fields=True):
    """How parts of the program talk."""

    url: str = "local:"  # nats://host:port[,host:port], tls://... (NATS), amqp://host:port[/vhost], amqps://... (RabbitMQ)
    user: str = ""
    password: str = ""
    password_file: str = ""  # read instead of `password`
    ca_file: str = ""  # who may vouch for the broker; "": those whom the system trusts
    cert_file: str = ""  # this program's own certificate, for brokers that ask for one; with `serve` the broker's too, which encrypts then
    key_file: str = ""
    prefix: str = ""  # tells this cloud from others on the same broker
    serve: str = ""  # address:port at which this program keeps a NATS broker of its own
    verify_clients: bool = False  # with `serve`: let only those in whose certificate `ca_file` vouches for

    def __repr__(self) -> str:
        return f"BusSettings({self.url!r}, user={self.user!r})"


class ApiSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The HTTP side."""

    bind: str = "127.0.0.1"
    port: int = 8765
    public_url: str = ""  # as clients reach us; "": as their Host header says
    classic_ports: bool = False  # listen on 5000, 8774, 9292, ... too
    services: list[str] = []  # packages whose APIs this process answers (identity, compute, ...); []: all
    threads: int = 8
    streams: int = 8


class TlsSettings(msgspec.Struct, forbid_unknown_fields=True):
    """Encryption of the API and the bus.  With no files named the cloud makes its own authority, in the state folder."""

    enabled: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class LogSettings(msgspec.Struct, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"


class KernelSettings(msgspec.Struct, kw_only=True):
    """What the kernel itself needs; the program adds a section for each service."""

    state: str = ""  # the state folder
    host: str = ""  # this host's name in the cloud; "": the machine's
    address: str = ""  # of this host, as the cloud's other hosts reach it; "": the cloud has no other hosts
    region: str = "RegionOne"
    database: DatabaseSettings = msgspec.field(default_factory=DatabaseSettings)
    bus: BusSettings = msgspec.field(default_factory=BusSettings)
    tls: TlsSettings = msgspec.field(default_factory=TlsSettings)
    api: ApiSettings = msgspec.field(default_factory=ApiSettings)
    log: LogSettings = msgspec.field(default_factory=LogSettings)
    workers: int = 8  # workflows run at once
    heartbeat: float = 10.0  # seconds between two reports of a process
    down_after: float = 60.0  # seconds without a report until a process is down
    traces_kept: float = 30 * 86400.0  # seconds that the steps of traces are kept; 0: for ever
    roles: list[str] = msgspec.field(default_factory=list)  # []: all


def read(kind: type[Any], path: Path | None, environment: Mapping[str, str] | None = None, **given: Any) -> Any:
    """The settings from a file, overridden by the environment, overridden by what is given here.

    Raises Invalid naming the setting that is wrong.
    """
    tree: dict[str, Any] = {}
    if path is not None and path.exists():
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{path} is not valid TOML: {error}.") from None
    for name, value in sorted((environment if environment is not None else os.environ).items()):
        if name.startswith("PILVI_") and name != "PILVI_STATE":
            _set(tree, name.removeprefix("PILVI_").lower().split("__"), value)
    for name, value in given.items():
        _merge(tree, {name: value})
    try:
        return msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(_sentence(str(error))) from None


def _sentence(error: str) -> str:
    """What is wrong with the settings, as one sentence that names the setting as it is written in `pilvi.toml`."""
    what, _, where = error.replace("`$.", "`").partition(" - at ")
    if what.startswith("Object contains unknown field "):
        section = f"[{where.strip('`')}]" if where else "the settings"
        return f"The configuration is not valid: there is no {what.split()[-1]} in {section}."
    return f"The configuration is not valid: {where + ': ' if where else ''}{what}."


def _set(tree: dict[str, Any], place: list[str], value: str) -> None:
    for part in place[:-1]:
        tree = tree.setdefault(part, {})
    tree[place[-1]] = value


def _merge(into: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for name, value in extra.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value
