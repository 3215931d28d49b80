"""Where the broker is and as whom we go there, out of the settings: addresses, TLS, user and password."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from pilvi.kernel.bus.names import AGENT, ROOT, agent_user, root
from pilvi.kernel.config import BusSettings
from pilvi.kernel.errors import Invalid

PORTS = {"nats": 4222, "tls": 4222, "amqp": 5672, "amqps": 5671}
ENCRYPTED = ("tls", "amqps")


class Endpoint(msgspec.Struct, kw_only=True):
    """A broker, and who goes there.  `agent` is the host for which we speak; "": we are the control plane."""

    url: str  # without secrets, for people
    addresses: list[tuple[str, int]]  # any of them will do
    path: str = ""
    root: str = ROOT  # what our names begin with there
    tls: ssl.SSLContext | None = None  # None: not encrypted
    user: str = ""
    password: str = ""
    agent: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, user={self.user!r})"


def endpoint(settings: BusSettings, host: str) -> Endpoint:
    """The broker of the settings, for the program of this host.  Raises Invalid naming the setting that is wrong."""
    scheme, addresses, path = _split(settings.url)
    if settings.user.startswith(AGENT) and settings.user != agent_user(host):
        raise Invalid(f"bus.user: {settings.user} is the user of another host; that of '{host}' is {agent_user(host)}.", field="bus.user")
    return Endpoint(
        url=settings.url,
        addresses=addresses,
        path=path,
        root=root(settings.prefix),
        tls=_context(settings) if scheme in ENCRYPTED else None,
        user=settings.user,
        password=_password(settings),
        agent=host if settings.user.startswith(AGENT) else "",
    )


def _split(url: str) -> tuple[str, list[tuple[str, int]], str]:
    """Scheme, addresses and path of a URL with one or several addresses."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise Invalid(
            "bus.url: the user belongs into bus.user, and the password into bus.password or a file named by bus.password_file.", field="bus.url"
        )
    addresses: list[tuple[str, int]] = []
    for one in parts.netloc.split(","):
        try:
            address = urlsplit(f"//{one}")
            addresses.append((address.hostname or "", PORTS[parts.scheme] if address.port is None else address.port))
        except ValueError:
            raise Invalid(f"bus.url: '{one}' is not an address with a port.", field="bus.url") from None
    if not all(name and port for name, port in addresses):
        raise Invalid(f"bus.url: '{url}' names no host.", field="bus.url")
    return parts.scheme, addresses, unquote(parts.path.removeprefix("/"))


def _password(settings: BusSettings) -> str:
    if not settings.password_file:
        return settings.password
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"bus.password_file: {settings.password_file} cannot be read: {_why(error)}.", field="bus.password_file") from None


def _context(settings: BusSettings) -> ssl.SSLContext:
    """How we verify the broker, and show who we are when it asks."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"bus.ca_file: {settings.ca_file} cannot be used: {_why(error)}.", field="bus.ca_file") from None
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file or None, password="")
        except (OSError, ssl.SSLError) as error:
            raise Invalid(f"bus.cert_file: {settings.cert_file} cannot be used: {_why(error)}.", field="bus.cert_file") from None
    return context


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error) or type(error).__name__).rstrip(".")
