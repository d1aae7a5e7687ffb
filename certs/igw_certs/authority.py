"""A certificate authority of one's own: a key and a certificate in a folder, and the pairs that it signs.

It is for one machine and for small fleets; larger ones bring the files of their own. Nothing is revoked: what it signs
is short-lived. Names, addresses, roles and the time come in; pairs come out, and nothing of them is kept here.
"""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from igw_certs.files import PRIVATE, PUBLIC, UnreadableError, content, place
from igw_certs.identity import TRUST_DOMAIN, Identity, checked_trust_domain
from igw_certs.pair import BadPairError, KeyPair, PrivateKey, is_name, issued, read_pair

CERTIFICATE = "ca.crt"
KEY = "ca.key"
LOOPBACK = (("localhost",), ("127.0.0.1", "::1"))
"""Names and addresses of what serves this machine alone."""
DAYS = 90
OWN_DAYS = 3650
CLOCKS_APART = timedelta(minutes=5)
"""What is issued now is good from a little before: clocks differ."""
_ORGANIZATION = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Inference Gateway")
_LONGEST_COMMON_NAME = 64


class AuthorityError(Exception):
    """An authority cannot be made, read, or sign what is asked; the text says which file or value, and what to do."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs; `certificate` is what others trust, PEM."""

    certificate: bytes = field(repr=False)
    trust_domain: str
    not_after: datetime
    _own: x509.Certificate = field(repr=False, compare=False)
    _key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)
    _clock: Callable[[], datetime] = field(repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """Give the SHA-256 digest of the certificate, as OpenSSL and browsers show it."""
        return self._own.fingerprint(hashes.SHA256()).hex(":").upper()

    @classmethod
    def kept(
        cls, folder: Path, trust_domain: str = TRUST_DOMAIN, clock: Callable[[], datetime] = _now
    ) -> "Authority":
        """Read the authority of a folder, after making it if there is none; it keeps the trust domain that it has.

        Of two processes that make it one does, and both read the same. Raises AuthorityError.
        """
        checked_trust_domain(trust_domain)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                if not (folder / KEY).exists() and not (folder / CERTIFICATE).exists():
                    _make(folder, trust_domain, clock())
        except OSError as error:
            raise AuthorityError(f"no authority can be made in {folder}: {error.strerror}") from None
        return cls.found(folder, clock)

    @classmethod
    def found(cls, folder: Path, clock: Callable[[], datetime] = _now) -> "Authority":
        """Read the authority of a folder. Raises AuthorityError."""
        try:
            _check_mode(folder / KEY)
            pair = read_pair(content(folder / CERTIFICATE), content(folder / KEY), named=False)
            certificate = x509.load_pem_x509_certificate(pair.chain)
            key = load_pem_private_key(pair.key, None)
            trust_domain = _trust_domain(certificate)
        except (UnreadableError, BadPairError) as error:
            raise AuthorityError(
                f"the authority in {folder} cannot be used: {error}. Put {CERTIFICATE} and {KEY} back as they were, or "
                "remove both and issue all certificates anew"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or trust_domain is None:
            raise AuthorityError(f"{folder / CERTIFICATE} is not of `igw certs ca`: name another folder")
        return cls(pair.chain, trust_domain, pair.not_after, certificate, key, clock)

    def issue_server(
        self, names: Sequence[str], addresses: Sequence[str] = (), days: float = DAYS
    ) -> KeyPair:
        """Give a new pair for host names (`*.x` too) and IP addresses, for servers alone. Raises AuthorityError."""
        if not names and not addresses:
            raise AuthorityError("a server's certificate needs a name or an address")
        return self._issue(_general_names(names, addresses), days, [ExtendedKeyUsageOID.SERVER_AUTH])

    def issue_identity(
        self,
        identity: Identity,
        days: float = DAYS,
        names: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> KeyPair:
        """Give a new pair of one of our processes, to serve and to call with. Raises AuthorityError.

        `names` and `addresses` are where it is reached, for clients that do not read the identity.
        """
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(self._identity_names(identity, names, addresses), days, usages)

    def stands_by(
        self,
        pair: KeyPair,
        identity: Identity,
        left: timedelta,
        names: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> bool:
        """Say whether a pair is what `issue_identity` would give, and good for longer than `left`.

        Raises AuthorityError for names and addresses that are none.
        """
        wanted = self._identity_names(identity, names, addresses)
        leaf, now = x509.load_pem_x509_certificate(pair.chain), self._clock()
        return pair.not_before <= now < pair.not_after - left and self.signed(pair) and _is_for(leaf, wanted)

    def signed(self, pair: KeyPair) -> bool:
        """Say whether a pair's certificate is of this authority."""
        try:
            x509.load_pem_x509_certificate(pair.chain).verify_directly_issued_by(self._own)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True

    def _identity_names(
        self, identity: Identity, names: Sequence[str], addresses: Sequence[str]
    ) -> list[x509.GeneralName]:
        uri = x509.UniformResourceIdentifier(identity.uri(self.trust_domain))
        return [uri, *_general_names(names, addresses)]

    def _issue(
        self, names: Sequence[x509.GeneralName], days: float, usages: Sequence[x509.ObjectIdentifier]
    ) -> KeyPair:
        now = self._clock()
        if not self._own.not_valid_before_utc <= now < self.not_after:
            raise AuthorityError(
                f"the authority's own certificate is good until {self.not_after:%Y-%m-%d} only"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        leaf = (
            _builder(key.public_key(), now, min(now + timedelta(days=days), self.not_after))
            .subject_name(_subject(names))
            .issuer_name(self._own.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(authority_key, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return issued(leaf, _pem(key))


def _make(folder: Path, trust_domain: str, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    common_name = x509.NameAttribute(
        NameOID.COMMON_NAME, f"Local authority of {trust_domain}"[:_LONGEST_COMMON_NAME]
    )
    name = x509.Name([_ORGANIZATION, common_name])
    domain = x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")
    certificate = (
        _builder(key.public_key(), now, now + timedelta(days=OWN_DAYS))
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([domain]), critical=False)
        .sign(key, hashes.SHA256())
    )
    # The key first: a certificate is there only with its key.
    place(folder, {KEY: (_pem(key), PRIVATE), CERTIFICATE: (certificate.public_bytes(Encoding.PEM), PUBLIC)})


def _builder(key: ec.EllipticCurvePublicKey, now: datetime, end: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(names: Sequence[x509.GeneralName]) -> x509.Name:
    """Give a subject for people; who verifies reads the alternative names."""
    text = str(names[0].value)
    common = [x509.NameAttribute(NameOID.COMMON_NAME, text)] if len(text) <= _LONGEST_COMMON_NAME else []
    return x509.Name([_ORGANIZATION, *common])


def _general_names(names: Sequence[str], addresses: Sequence[str]) -> list[x509.GeneralName]:
    bad = next((name for name in names if not is_name(name)), None)
    if bad is not None:
        raise AuthorityError(f"{bad!r} is not a host name, nor a wildcard as *.example.com")
    unique = dict.fromkeys(name.lower() for name in names)
    return [
        *map(x509.DNSName, unique),
        *(x509.IPAddress(_address(text)) for text in dict.fromkeys(addresses)),
    ]


def _is_for(leaf: x509.Certificate, names: Sequence[x509.GeneralName]) -> bool:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return set(found) == set(names)


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise AuthorityError(f"{text!r} is not an IP address") from None


def _pem(key: ec.EllipticCurvePrivateKey) -> PrivateKey:
    return PrivateKey(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _check_mode(key: Path) -> None:
    """Check that a key is its owner's alone. Raises AuthorityError, and UnreadableError where there is none."""
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError as error:
        raise UnreadableError(f"{key.name}: {error.strerror}") from None
    if mode & 0o077:
        raise AuthorityError(f"{key} may be read by others than its owner: chmod 600 {key}")


def _trust_domain(certificate: x509.Certificate) -> str | None:
    """Give the trust domain that an authority of ours signs for; None for one that is not ours."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        return checked_trust_domain(uri.removeprefix("spiffe://"))
    except (ValueError, x509.ExtensionNotFound):
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine out of a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
