"""Certificates, as peers show them and as folders hold them: any bytes are somebody, nobody, or refused with a reason.

An input is a certificate in DER; one key is the key of all that are in the corpus.
"""

import base64
import contextlib
import textwrap

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from igw_certs.identity import TRUST_DOMAIN, Identity, checked_trust_domain, identity_of
from igw_certs.pair import BadPairError, is_name, read_pair

WATCHED = ("igw_certs", "igw_model")
MAX_BYTES = 4096
KEY = ec.derive_private_key(0x1_2345_6789, ec.SECP256R1())
_KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def check(data: bytes) -> None:
    """Read a peer's certificate; a pair of it and the key; and the bytes themselves as PEM."""
    identity = identity_of(data, TRUST_DOMAIN)
    if identity is not None:
        assert Identity(identity.role, identity.zone) == identity
        assert identity.uri(TRUST_DOMAIN).encode().lower() in data.lower()
        assert identity_of(data, "other.internal") is None
    _pair(_pem(data), _KEY_PEM)
    _pair(data, _KEY_PEM)
    _pair(_pem(data), data)
    _names(data.decode("latin-1"))


def _pem(der: bytes) -> bytes:
    lines = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n".encode()


def _pair(chain: bytes, key: bytes) -> None:
    with contextlib.suppress(BadPairError):
        pair = read_pair(chain, key)
        assert pair.names
        assert all(is_name(name) and name == name.lower() for name in pair.names)
        assert pair.not_before.tzinfo is not None
        assert "PRIVATE" not in repr(pair)
        assert read_pair(pair.chain, bytes(pair.key)) == pair


def _names(text: str) -> None:
    is_name(text)
    with contextlib.suppress(ValueError):
        assert checked_trust_domain(text) == text
