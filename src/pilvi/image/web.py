"""Data from the web, fetched for users: only over HTTP, and only from where the public internet is."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

from pilvi.kernel.errors import HostError, Invalid

_REDIRECTS = 5
_PIECE = 1 << 20
_SILENCE = 30.0  # seconds without a byte after which the other side is given up
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def require_fetchable(url: str, allow: Sequence[str]) -> SplitResult:
    """The URL's parts, if it is one that may be fetched as far as can be told from its text; raises Invalid."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid(f"The URI '{url[:200]}' is not valid.", field="uri") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or port == 0:
        raise Invalid(f"The URI '{url[:200]}' does not pass filtering: it must be http or https, with a host and without a user.", field="uri")
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise Invalid("The URI does not pass filtering: it contains blanks or control characters.", field="uri")
    try:
        address = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return parts
    if not _is_allowed(parts.hostname, address, allow):
        raise Invalid(f"The URI '{url[:200]}' does not pass filtering: {address} is not an address of the public internet.", field="uri")
    return parts


def fetch(url: str, allow: Sequence[str]) -> Iterator[bytes]:
    """The bytes at the URL.  Raises HostError when they cannot be had, or when any step leads to a private address."""
    for _ in range(_REDIRECTS + 1):
        try:
            parts = require_fetchable(url, allow)
            connection = _connect(parts, allow)
        except Invalid as error:
            raise HostError(error.message) from None
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"Host": parts.netloc, "User-Agent": "pilvi", "Accept-Encoding": "identity"})
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308) and answer.getheader("Location"):
                url = urljoin(url, answer.getheader("Location", ""))
                continue
            if answer.status != 200:
                raise HostError(f"{parts.hostname} answers {answer.status} to the download of {url[:200]}.")
            yield from _pieces(answer)
            return
        except (OSError, http.client.HTTPException) as error:
            raise HostError(f"The download of {url[:200]} broke off: {str(error)[:200] or type(error).__name__}.") from error
        finally:
            connection.close()
    raise HostError(f"The download of {url[:200]} is redirected more than {_REDIRECTS} times.")


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    expected = answer.length
    size = 0
    while piece := answer.read(_PIECE):
        size += len(piece)
        yield piece
    if expected is not None and size != expected:
        raise OSError(f"{size} of {expected} bytes came")


def _connect(parts: SplitResult, allow: Sequence[str]) -> http.client.HTTPConnection:
    """A connection to an address that was looked at: the name is not resolved a second time."""
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise HostError(f"The host {host[:200]} is not known.") from None
    chosen = [address for address in found if _is_allowed(host, ipaddress.ip_address(address.partition("%")[0]), allow)]
    if not chosen or len(chosen) < len(found):
        raise HostError(f"{host[:200]} does not pass filtering: it is not on the public internet.")
    try:
        line = socket.create_connection((chosen[0], port), timeout=_SILENCE)
        if parts.scheme == "https":
            line = ssl.create_default_context().wrap_socket(line, server_hostname=host)
    except OSError as error:
        raise HostError(f"{host[:200]} cannot be reached: {str(error)[:200]}.") from error
    connection = http.client.HTTPConnection(host, port, timeout=_SILENCE)
    connection.sock = line
    return connection


def _is_allowed(host: str, address: Address, allow: Sequence[str]) -> bool:
    """Whether an address may be fetched from: one of the public internet, or one that the operator named."""
    plain = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped else address
    if plain.is_global and not plain.is_multicast:
        return True
    for one in allow:
        if one.lower() == host.lower():
            return True
        try:
            if plain in ipaddress.ip_network(one, strict=False):
                return True
        except ValueError:
            continue
    return False
