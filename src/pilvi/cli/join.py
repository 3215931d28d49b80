"""pilvi join: turn this machine into a host of a cloud: compute, network and volumes, in one step."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pilvi.cli import up
from pilvi.cli.place import Place, parser
from pilvi.kernel.errors import Invalid, PilviError, Unavailable

_PATIENCE = 30.0  # seconds


def main(arguments: list[str]) -> int:
    options = parser("join", "Turn this machine into a host of a cloud; `pilvi host add` over there prints the whole command.")
    options.add_argument("url", help="where the cloud's API is")
    options.add_argument("--token", required=True, help="the token that `pilvi host add` printed; @FILE reads it from a file")
    options.add_argument("--address", help="this machine's address on the hosts' network (default: the one from which it reaches the API)")
    options.add_argument("--bus-password-file", metavar="FILE", help="this host's password on a bus that the cloud does not keep itself")
    options.add_argument("--no-start", action="store_true", help="only write the settings")
    options.add_argument("--fake", action="store_true", help="machines, networks and disks that only pretend")
    chosen = options.parse_args(arguments)
    place = Place(chosen)
    if place.config.exists():
        raise PilviError(f"{place.config} is there already: this machine is part of a cloud; another --state DIR makes it a second host.")
    token = Path(chosen.token[1:]).read_text(encoding="ascii").strip() if chosen.token.startswith("@") else chosen.token
    place.state.mkdir(parents=True, exist_ok=True, mode=0o755)
    welcome, address = _ask(chosen.url, token, chosen.address, place.state / "tls")
    password = Path(chosen.bus_password_file).read_text(encoding="utf-8").strip() if chosen.bus_password_file else welcome["bus"]["password"]
    if not password:
        raise PilviError("the cloud does not keep its bus itself: give this host's password on it by --bus-password-file.")
    _settle(place, welcome, address, password, fake=chosen.fake)
    print(f"this machine is the host {welcome['host']}: {', '.join(welcome['roles'])}; settings in {place.config}")
    if not chosen.no_start:
        if not chosen.fake:
            from pilvi.cli.demo import install_packages

            install_packages(("compute", "network", "storage"))
        up.start(place, [])
        print("up; `pilvi status` tells how it is, here and over there.")
    return 0


def _ask(url: str, token: str, address: str | None, folder: Path) -> tuple[dict[str, Any], str]:
    """The cloud's welcome, and this machine's address on the hosts' network."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid("the URL of the cloud's API looks like https://192.0.2.1:8765.", field="url")
    secret, _, wanted = token.partition(".")
    try:
        context = _trust(parts.hostname, parts.port or 443, wanted, folder) if parts.scheme == "https" else None
        request = ""
        if wanted:
            request = _signing_request(folder)
        link = _link(parts.hostname, parts.port, context)
        link.connect()
        own = address or str(link.sock.getsockname()[0])
        link.request("POST", "/join", json.dumps({"token": secret, "address": own, "request": request}), {"Content-Type": "application/json"})
        answer = link.getresponse()
        told = json.loads(answer.read(1 << 20) or b"{}")
        link.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"{url} does not answer as a cloud: {str(error)[:200]}") from None
    if answer.status != 200:
        raise PilviError(str(told.get("error") or f"the cloud answers {answer.status}."))
    return told, own


def _trust(host: str, port: int, wanted: str, folder: Path) -> ssl.SSLContext:
    """A context that trusts the cloud's authority, which is known by the fingerprint in the token."""
    from pilvi.kernel.certificates import fingerprint

    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE  # only to be shown the certificate that the fingerprint names
    link = http.client.HTTPSConnection(host, port, timeout=_PATIENCE, context=blind)
    link.request("GET", "/join")
    shown = link.getresponse().read(1 << 16)
    link.close()
    if not wanted or fingerprint(shown) != wanted:
        raise PilviError("the cloud's certificate is not the one that the token names: somebody else answers there.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "ca.pem").write_bytes(shown)
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))


def _link(host: str, port: int | None, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if context is not None:
        return http.client.HTTPSConnection(host, port, timeout=_PATIENCE, context=context)
    return http.client.HTTPConnection(host, port, timeout=_PATIENCE)


def _signing_request(folder: Path) -> str:
    from pilvi.kernel import certificates

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = certificates.new_key()
    certificates.write_key(folder / "key.pem", key)
    return certificates.signing_request(key, socket.gethostname()).decode()


def _settle(place: Place, welcome: dict[str, Any], address: str, password: str, *, fake: bool) -> None:
    """Write what the host's program is to know; its settings last, so that an interrupted join is none."""
    tls = place.state / "tls"
    if welcome["certificate"]:
        (tls / "ca.pem").write_text(welcome["ca"], encoding="ascii")
        (tls / "cert.pem").write_text(welcome["certificate"], encoding="ascii")
    secret = place.state / "bus-password"
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(password + "\n")
    roles = json.dumps(welcome["roles"])
    lines = [
        f"host = {json.dumps(welcome['host'])}", f"address = {json.dumps(address)}", f"region = {json.dumps(welcome['region'])}", f"roles = {roles}",
        "", "[bus]", f"url = {json.dumps(welcome['bus']['url'])}", f"user = {json.dumps(welcome['bus']['user'])}",
        f"password_file = {json.dumps(str(secret))}", "", "[tls]", f"enabled = {'true' if welcome['certificate'] else 'false'}",
    ]  # fmt: skip
    for section, driver in welcome["drivers"].items():
        lines += ["", f"[{section}]", f"driver = {json.dumps('fake' if fake else driver)}"]
        if section == "network":
            mappings = ", ".join(f"{json.dumps(name)} = {json.dumps(wire)}" for name, wire in welcome["bridge_mappings"].items())
            lines.append(f"bridge_mappings = {{ {mappings} }}")
    fresh = place.config.with_suffix(".new")
    fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
    fresh.replace(place.config)
