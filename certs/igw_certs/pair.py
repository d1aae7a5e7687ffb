"""PEM of a certificate chain and of its private key in, a pair that can be served out, or why it cannot. Pure.

Whether it is expired is not asked here: time is an argument of those who do. Nor is who signed the last of the chain.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from igw_model.text import HostName
from pydantic import TypeAdapter, ValidationError

MOST_CERTIFICATES = 10
"""In a chain."""
LEAST_RSA_BITS = 2048
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""Envoy serves keys of RSA and of these curves (its documentation of `TlsCertificate`)."""
_KEY = re.compile(
    rb"-----BEGIN (?P<kind>[A-Z ]*)PRIVATE KEY-----.*?-----END (?P=kind)PRIVATE KEY-----", re.DOTALL
)
_MOST_BLOCKS = 8
_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_WEAK = (hashes.MD5, hashes.SHA1)
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for a certificate that it cannot read, at once or part by part."""


class PrivateKey(bytes):
    """A private key in PEM; its text does not show in what is printed, formatted or logged."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PrivateKey(…)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its chain, leaf first, and its key, both PEM; two pairs of the same bytes are equal."""

    chain: bytes = field(repr=False)
    key: PrivateKey
    names: tuple[str, ...]
    """Host names that it is for, in lower case; a wildcard is `*.x`. No addresses."""
    not_before: datetime
    not_after: datetime
    """Of the leaf, in UTC."""
    uris: tuple[str, ...] = ()
    """As whom a process of ours shows itself."""


class BadPairError(ValueError):
    """A chain and a key cannot be served; the text says why, for people, and quotes neither."""


def read_pair(chain_pem: bytes, key_pem: bytes, *, named: bool = True) -> KeyPair:
    """Read a chain (leaf first, each certificate signed by the next) and the leaf's key.

    `named`: it must be for a DNS name. Raises BadPairError.
    """
    chain, (key, pem) = certificates(chain_pem), _key(key_pem)
    if len(chain) > MOST_CERTIFICATES:
        raise BadPairError(f"the chain has more than {MOST_CERTIFICATES} certificates")
    _check_key(key)
    try:
        pair = _checked(chain, key, pem)
    except BadPairError:
        raise
    except UNREADABLE:
        raise BadPairError("the certificate cannot be read") from None
    if named and not pair.names:
        raise BadPairError("the certificate is for no DNS name (subjectAltName)")
    return pair


def certificates(pem: bytes) -> list[x509.Certificate]:
    """Read what a chain or a bundle of authorities holds, one certificate or more. Raises BadPairError."""
    if b"PRIVATE KEY-----" in pem:
        raise BadPairError("a private key lies among the certificates")
    try:
        return x509.load_pem_x509_certificates(pem)
    except UNREADABLE:
        raise BadPairError("there is no certificate in PEM, or one that cannot be read") from None


def issued(leaf: x509.Certificate, key: PrivateKey) -> KeyPair:
    """Give the pair of a certificate that is known to be good, without any chain."""
    return _pair([leaf], key)


def _checked(chain: Sequence[x509.Certificate], key: _Key, pem: PrivateKey) -> KeyPair:
    if _encoded(key.public_key()) != _encoded(chain[0].public_key()):
        raise BadPairError("the key is not that of the first certificate")
    _check_order(chain)
    return _pair(chain, pem)


def _encoded(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pair(chain: Sequence[x509.Certificate], key: PrivateKey) -> KeyPair:
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
    leaf = chain[0]
    names, uris = _names(leaf)
    return KeyPair(pem, key, names, leaf.not_valid_before_utc, leaf.not_valid_after_utc, uris)


def _key(pem: bytes) -> tuple[_Key, PrivateKey]:
    """Give the one key in PEM; what else lies there, as a curve's parameters, is left out."""
    found = list(_KEY.finditer(pem)) if pem.count(b"-----BEGIN") <= _MOST_BLOCKS else []
    if not found:
        raise BadPairError("there is no private key in PEM")
    if len(found) > 1:
        raise BadPairError("there are several private keys")
    try:
        key = load_pem_private_key(found[0][0], None)
    except TypeError:
        raise BadPairError("the private key is encrypted; nobody is there to give its password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadPairError("the private key cannot be read") from None
    return _check_key(key), PrivateKey(found[0][0] + b"\n")


def _check_key(key: PrivateKeyTypes) -> _Key:
    match key:
        case rsa.RSAPrivateKey():
            if key.key_size < LEAST_RSA_BITS:
                raise BadPairError(
                    f"the key is too weak: RSA of {key.key_size} bits, at least {LEAST_RSA_BITS}"
                )
            return key
        case ec.EllipticCurvePrivateKey():
            if key.curve.name not in CURVES:
                raise BadPairError(f"Envoy serves no key on the curve {key.curve.name}: use P-256")
            return key
        case _:
            raise BadPairError("the key is neither RSA nor ECDSA: many clients take no other")


def _check_order(chain: Sequence[x509.Certificate]) -> None:
    if isinstance(chain[0].signature_hash_algorithm, _WEAK):
        raise BadPairError("the certificate is signed by way of SHA-1 or MD5, which clients refuse")
    for number, (one, issuer) in enumerate(pairwise(chain), 1):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise BadPairError(
                f"the chain is not in order: certificate {number} is not signed by certificate {number + 1}"
            ) from None


def _names(leaf: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give host names, but for those that no gateway can have, and URIs."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    hosts = (name.lower() for name in names.get_values_for_type(x509.DNSName))
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return tuple(dict.fromkeys(name for name in hosts if is_name(name))), tuple(uris)


def is_name(name: str) -> bool:
    """Say whether a certificate may be for this name: a host's, or a wildcard for its first label."""
    return not name.endswith(".") and _is_host(name.removeprefix("*."))


@cache
def _rule() -> TypeAdapter[str]:
    return TypeAdapter(HostName)


def _is_host(name: str) -> bool:
    try:
        _rule().validate_python(name)
    except ValidationError:
        return False
    return True
