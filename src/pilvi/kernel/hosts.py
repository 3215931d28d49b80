"""Hosts: who may join the cloud, with a token that is good once, and what a host is given when it does."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from pilvi.kernel import clock, log
from pilvi.kernel.bus.names import agent_user
from pilvi.kernel.db import LongKey, Row, Transaction, Word
from pilvi.kernel.errors import Forbidden, Invalid, NotFound, PilviError, Unavailable
from pilvi.kernel.http.request import Answer

if TYPE_CHECKING:
    from pilvi.kernel.program import Program

PATH = "/join"
VALID = 3600.0  # seconds that an invitation can be accepted
_LONGEST = 255


class Host(Row, table="kernel_hosts"):
    """A host that has joined, or is expected to."""

    name: LongKey
    roles: list[str] = []
    address: str = ""
    joined_at: float = 0.0  # 0: not yet
    invited_at: float = 0.0


class Invitation(Row, table="kernel_invitations"):
    """A token that one host may use once; only its hash is kept."""

    token_hash: LongKey
    host: str
    kind: Word = "agent"
    expires_at: float


class Accept(msgspec.Struct, forbid_unknown_fields=True):
    """What a host says when it joins; `request` is a certificate signing request (PEM)."""

    token: str
    address: str
    request: str = ""


class Bus(msgspec.Struct):
    """How the host reaches the bus; an empty password: the bus is not kept by this cloud, and its operator gives it."""

    url: str
    user: str
    password: str = ""


class Welcome(msgspec.Struct):
    """What a host needs to know of the cloud that it joins."""

    host: str
    region: str
    roles: list[str]
    bus: Bus
    ca: str = ""
    certificate: str = ""
    drivers: dict[str, str] = {}  # section -> driver
    bridge_mappings: dict[str, str] = {}


def invite(program: Program, name: str, roles: Sequence[str]) -> str:
    """A token by which the host of that name may join within the hour; what it held before is void.  Raises Invalid."""
    _check_name(name)
    if name == program.host:
        raise Invalid(f"{name} is the name of this host itself.", field="name")
    if program.settings.bus.url.startswith("local:") and not program.settings.bus.serve:
        raise Invalid(
            "this cloud has no bus that other hosts could reach: set `address` in pilvi.toml to this machine's address on their network "
            "(and `[tls] enabled = true`, so that nothing travels in the clear), then `pilvi down` and `pilvi up`.", field="address",
        )  # fmt: skip
    token = secrets.token_hex(32)  # hexadecimal: an argument that begins with a hyphen would be taken for an option

    def write(tx: Transaction) -> None:
        now = clock.now()
        tx.delete(Invitation, Invitation.c.expires_at < now)
        tx.delete(Invitation, Invitation.c.host == name)
        held = tx.get(Host, name)
        tx.put(Host(name=name, roles=list(roles), address=held.address if held else "", joined_at=held.joined_at if held else 0.0, invited_at=now))
        tx.insert(Invitation(token_hash=_hash(token), host=name, expires_at=now + VALID))

    program.db.run(write)
    authority = program.authority
    return f"{token}.{authority.fingerprint()}" if authority else token


def accept(program: Program, said: Accept) -> Welcome:
    """Take the host in: its own credentials for the bus, its certificate.  Raises Forbidden for a token that is not good (any more)."""
    if len(said.address) > _LONGEST or not said.address.isascii():
        raise Invalid("The address is not valid.", field="address")

    def take(tx: Transaction) -> Host:
        found = tx.get(Invitation, _hash(said.token))
        if found is None or found.expires_at < clock.now():
            raise Forbidden("The token is not valid, was used before, or is older than an hour; `pilvi host add` makes another.")
        host = tx.get(Host, found.host)
        assert host is not None
        tx.remove(found)
        return tx.change(host, address=said.address, joined_at=clock.now())

    certificate = ca = ""
    with program.db.transaction(write=False) as tx:
        invited = tx.get(Invitation, _hash(said.token))
    if program.authority and invited:
        ca = program.authority.ca_file.read_text(encoding="ascii")
        certificate = program.authority.sign(said.request.encode("utf-8", "replace"), invited.host, [said.address]).decode()
    host = program.db.run(take)
    settings = program.settings
    password = program.broker.ensure_user(host.name) if program.broker else ""
    log.info("a host has joined", host=host.name, address=said.address)
    return Welcome(
        host=host.name, region=settings.region, roles=host.roles, bus=Bus(url=program.bus_url, user=agent_user(host.name), password=password), ca=ca,
        certificate=certificate, drivers={name: getattr(settings, name).driver for name in ("compute", "network", "block_storage")},
        bridge_mappings=settings.network.bridge_mappings,
    )  # fmt: skip


def known(tx: Transaction) -> list[Host]:
    """The hosts that have joined or are expected, by name."""
    return tx.all(Host, order=[Host.c.name])


def remove(program: Program, name: str) -> None:
    """Let the host speak no more.  Raises NotFound."""

    def forget(tx: Transaction) -> None:
        found = tx.get(Host, name)
        if found is None:
            raise NotFound(f"No host {name} has joined.")
        tx.remove(found)
        tx.delete(Invitation, Invitation.c.host == name)

    program.db.run(forget)
    if program.broker:
        program.broker.remove_user(name)


def answer(program: Program, method: str, path: str, body: bytes) -> Answer:
    """The HTTP side: `GET /join` tells the authority's certificate, `POST /join` accepts an invitation."""
    if method == "GET":
        if program.authority is None:
            return Answer(204, b"", {})
        return Answer(200, program.authority.ca_file.read_bytes(), {"Content-Type": "application/x-pem-file"})
    try:
        if method != "POST":
            raise Invalid("Only GET and POST are understood here.")
        return _json(200, accept(program, msgspec.json.decode(body, type=Accept)))
    except msgspec.DecodeError as error:
        return _json(400, {"error": str(error)})
    except PilviError as error:
        return _json(403 if isinstance(error, Forbidden) else 503 if isinstance(error, Unavailable) else 400, {"error": error.message})


def _json(status: int, value: object) -> Answer:
    return Answer(status, msgspec.json.encode(value), {"Content-Type": "application/json", "Cache-Control": "no-store"})


def _check_name(name: str) -> None:
    if not 0 < len(name) <= 63 or not name.isascii() or not name.replace("-", "").replace(".", "").isalnum() or name.startswith(("-", ".")):
        raise Invalid("A host's name has up to 63 letters, digits, dots and hyphens, and begins with a letter or digit.", field="name")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
