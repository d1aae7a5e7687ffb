"""Certificates as others make them, good and bad: chains, keys of any kind, names, dates. Real ones, for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Signed:
    """A certificate and its key; `pem` is both of them apart."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @property
    def chain(self) -> bytes:
        """Give the certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def secret(self) -> bytes:
        """Give the key, PKCS #8."""
        return pem(self.key)


def pem(key: CertificateIssuerPrivateKeyTypes, password: str = "") -> bytes:
    """Give a key in PEM."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@cache
def key_of(kind: str) -> CertificateIssuerPrivateKeyTypes:
    """Give a key that is made once: RSA by bits, a curve by name, or ed25519."""
    if kind.isdigit():
        return rsa.generate_private_key(65537, int(kind))
    if kind == "dsa":
        return dsa.generate_private_key(2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, ec.EllipticCurve] = {
        "p256": ec.SECP256R1(),
        "p384": ec.SECP384R1(),
        "p521": ec.SECP521R1(),
        "p224": ec.SECP224R1(),
        "k256": ec.SECP256K1(),
    }
    return ec.generate_private_key(curves[kind])


def fresh() -> ec.EllipticCurvePrivateKey:
    """Give a key that no other certificate has."""
    return ec.generate_private_key(ec.SECP256R1())


def signed(  # noqa: PLR0913 - what a certificate has
    *names: str,
    by: Signed | None = None,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    uris: Sequence[str] = (),
    addresses: Sequence[str] = (),
    begins: datetime = NOW,
    days: float = 90,
    authority: bool = False,
    subject: str = "",
    more: Sequence[str] = (),
) -> Signed:
    """Give a certificate, signed by itself or by another; nothing is checked."""
    key = key or fresh()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject or (names or ("nobody",))[0][:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    alternatives: list[x509.GeneralName] = [
        *map(x509.DNSName, names),
        *map(x509.UniformResourceIdentifier, uris),
        *(x509.IPAddress(ip_address(text)) for text in addresses),
    ]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    for oid in more:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=False)
    signer = key if by is None else by.key
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Signed(builder.sign(signer, algorithm), key)


@cache
def root() -> Signed:
    """Give an authority of nobody's."""
    return signed(authority=True, subject="root")


@cache
def intermediate() -> Signed:
    """Give an authority that the root signed."""
    return signed(by=root(), authority=True, subject="intermediate")


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files by name in a folder, made if need be; plainly, as `cp` does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
