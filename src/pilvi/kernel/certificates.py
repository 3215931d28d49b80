"""Certificates: the cloud's own authority, and what it vouches for: the API, the bus, and each host that has joined.

Keys are ECDSA on P-256 (RFC 5480); certificates are X.509 v3 (RFC 5280).
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pilvi.kernel.errors import Invalid

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_YEARS = 10
_DAY = datetime.timedelta(days=1)


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """The files that a process encrypts with: PEM, absolute paths."""

    ca_file: str
    cert_file: str
    key_file: str


class Authority:
    """The cloud's certificate authority, in a folder that only its owner may read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self._key_file = folder / "ca-key.pem"

    def ensure(self) -> None:
        """Have an authority; the one that is there is kept."""
        if self.ca_file.exists() and self._key_file.exists():
            return
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = new_key()
        name = _name("Pilvi cloud")
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        built = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_key(self._key_file, key)
        _write(self.ca_file, _pem(built), 0o644)

    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, by which a host knows it before it trusts it."""
        return fingerprint(self.ca_file.read_bytes())

    def sign(self, request: bytes, name: str, addresses: Sequence[str]) -> bytes:
        """A certificate (PEM) for the key of a signing request (PEM), valid for this name and these addresses.

        What the request says beyond its key is not believed.  Raises Invalid when it is none.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        try:
            asked = x509.load_pem_x509_csr(request)
            good = asked.is_signature_valid
        except (ValueError, TypeError):
            good = False
        if not good:
            raise Invalid("The certificate signing request is not valid.", field="request")
        public = serialization.load_pem_public_key(
            asked.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return self._issue(public, name, addresses)

    def ensure_own(self, name: str, addresses: Sequence[str]) -> tuple[Path, Path]:
        """This process's own certificate and key; made anew when they were made for other addresses or expire within a month."""
        certificate, key_file = self.folder / "cert.pem", self.folder / "key.pem"
        wanted = set(_alternatives(name, addresses))
        if certificate.exists() and key_file.exists() and _good(certificate.read_bytes(), wanted):
            return certificate, key_file
        key = new_key()
        made = self._issue(key.public_key(), name, addresses)
        write_key(key_file, key)
        _write(certificate, made, 0o644)
        return certificate, key_file

    def _issue(self, public: object, name: str, addresses: Sequence[str]) -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import ExtendedKeyUsageOID

        authority = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        key = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        built = (
            _builder(_name(name), authority.subject, public)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(_alternatives(name, addresses)), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(key, hashes.SHA256())  # type: ignore[arg-type]
        )
        return _pem(built)


_trusted: set[str] = set()


def trust(ca_file: Path) -> None:
    """From now on this process's HTTP clients trust that authority beside the machine's own."""
    _trusted.add(str(ca_file))


def client_context() -> ssl.SSLContext:
    """What an HTTP client of this process trusts."""
    context = ssl.create_default_context()
    for file in _trusted:
        context.load_verify_locations(cafile=file)
    return context


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new private key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def signing_request(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A signing request (PEM) for a key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    return _pem(x509.CertificateSigningRequestBuilder().subject_name(_name(name)).sign(key, hashes.SHA256()))


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (PEM) in its DER form, as hex.  Raises Invalid."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        return hashlib.sha256(x509.load_pem_x509_certificate(certificate).public_bytes(serialization.Encoding.DER)).hexdigest()
    except ValueError:
        raise Invalid("This is not a certificate.") from None


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key, readable by its owner only."""
    from cryptography.hazmat.primitives import serialization

    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(path, text, 0o600)


def _builder(subject: x509.Name, issuer: x509.Name, public: object) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)  # hosts' clocks may differ
        .not_valid_after(now + 365 * _YEARS * _DAY)
    )


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alternatives(name: str, addresses: Sequence[str]) -> list[x509.GeneralName]:
    from cryptography import x509

    found: list[x509.GeneralName] = []
    for one in dict.fromkeys([name, *addresses]):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(one)))
        except ValueError:
            if one.isascii() and one:
                found.append(x509.DNSName(one))
    return found


def _good(certificate: bytes, wanted: set[x509.GeneralName]) -> bool:
    from cryptography import x509

    try:
        held = x509.load_pem_x509_certificate(certificate)
        names = set(held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (ValueError, x509.ExtensionNotFound):
        return False
    return wanted <= names and held.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + 30 * _DAY


def _pem(thing: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return thing.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, text: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others in between."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
