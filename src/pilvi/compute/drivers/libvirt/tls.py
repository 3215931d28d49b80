"""How two hosts know each other: the pass that one hands to the other over the bus, and TLS that holds both to it.

A pass names an address, the fingerprint of the certificate that answers there, and a secret.  Who has it can be sure
of whom they talk to, and is known by it, also without certificates of the cloud's own.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from pilvi.compute.drivers.libvirt.places import write_whole
from pilvi.kernel.errors import HostError, Invalid

SCHEME = "pilvi"
_SECRET = re.compile(r"[0-9a-f]{64}")
_making = threading.Lock()
_YEARS = datetime.timedelta(days=20 * 365)


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud's authority, and this host's certificate and key, as PEM files.  All or none of them."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """What lets another host in: where, to whom, and the secret."""

    host: str
    port: int
    pin: str  # SHA-256 of the certificate
    secret: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}://{host}:{self.port}/?{urlencode({'pin': self.pin})}#{self.secret}"

    @property
    def place(self) -> str:
        """Where it leads, without the secret."""
        return f"{self.host} port {self.port}"


def read_pass(text: str) -> Pass:
    """Raises Invalid, without the text in it, for what is no pass."""
    try:
        parts = urlsplit(text)
        pin = parse_qs(parts.query).get("pin", [""])[0]
        if parts.scheme == SCHEME and parts.hostname and parts.port and _SECRET.fullmatch(pin) and _SECRET.fullmatch(parts.fragment):
            return Pass(host=parts.hostname, port=parts.port, pin=pin, secret=parts.fragment)
    except ValueError:
        pass
    raise Invalid("What the other host handed over is not a pass to it; do both run the libvirt driver?")


def new_secret() -> str:
    return secrets.token_hex(32)


class Identity:
    """This host's certificate and what it asks of others.  Without files it makes itself one when needed, kept in `folder`."""

    def __init__(self, files: Files, folder: Path) -> None:
        given = [files.ca, files.cert, files.key]
        if any(given) and not all(given):
            raise Invalid("ca_file, cert_file and key_file belong together: give all three, or none.")
        self._given, self._folder = files, folder

    @property
    def _files(self) -> Files:
        if self._given.cert:
            return self._given
        path = self._folder / "tls.pem"
        with _making:
            if not path.exists():
                _make(path)
        return Files(cert=str(path), key=str(path))

    def server(self) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def client(self) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def pin(self) -> str:
        """The fingerprint of the certificate that others meet here."""
        with _reading():
            pem = Path(self._files.cert).read_text()
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        first = begin + pem.partition(begin)[2].partition(end)[0] + end  # a chain may follow
        with _reading():
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()

    def _context(self, side: int) -> ssl.SSLContext:
        context, files = ssl.SSLContext(side), self._files
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # names say little between hosts: the pin says exactly which certificate it must be
        context.check_hostname = False
        with _reading():
            context.load_cert_chain(files.cert, files.key)
            if files.ca:
                context.load_verify_locations(files.ca)
        context.verify_mode = ssl.CERT_REQUIRED if files.ca else ssl.CERT_NONE
        return context


@contextmanager
def _reading() -> Iterator[None]:
    """Say in a sentence that a file of certificates cannot be used."""
    try:
        yield
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "malformed"
        raise HostError(f"The certificates of this host cannot be used: {why}; look at ca_file, cert_file and key_file.") from None


def check_pin(certificate: bytes | None, wanted: Pass) -> None:
    """Raise HostError unless the certificate is the one that the pass names."""
    found = hashlib.sha256(certificate or b"").hexdigest()
    if not hmac.compare_digest(found, wanted.pin):
        raise HostError(f"Another than the expected host answers at {wanted.place}: its certificate is not the one that was handed over.")


def _make(path: Path) -> None:
    """A certificate of the host's own, for itself alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pilvi")])
    today = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)  # clocks differ
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today)
        .not_valid_after(today + _YEARS)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    text = made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_whole(path, text.decode())
