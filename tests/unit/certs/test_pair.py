"""A chain and a key are a pair that Envoy serves and clients take, or it is said why not."""

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from igw_certs.pair import BadPairError, KeyPair, PrivateKey, is_name, read_pair

from tests.unit.certs.signing import NOW, Signed, intermediate, key_of, pem, root, signed

LEAF = signed("api.example.com", by=intermediate())
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
"""What `openssl ecparam -genkey` writes before a key: the name of P-256."""


def reason(chain: bytes, key: bytes) -> str:
    """Give why a pair is bad."""
    with pytest.raises(BadPairError) as caught:
        read_pair(chain, key)
    return str(caught.value)


def of(one: Signed) -> KeyPair:
    """Read a certificate that stands alone."""
    return read_pair(one.chain, one.secret)


def test_a_chain_and_its_key_are_a_pair() -> None:
    """Names are in lower case and once each, in the certificate's order; times are the leaf's."""
    leaf = signed("API.example.com", "*.gw.example.com", "api.example.com", by=intermediate(), days=30)
    chain = leaf.chain + intermediate().chain
    assert read_pair(chain, leaf.secret) == KeyPair(
        chain,
        PrivateKey(leaf.secret),
        ("api.example.com", "*.gw.example.com"),
        NOW,
        NOW + timedelta(days=30),
    )


def test_the_root_may_end_the_chain_and_text_may_stand_between() -> None:
    """What tools write around PEM is left out, of keys too."""
    chain = b"subject=/CN=a\n" + LEAF.chain + b"\n\n" + intermediate().chain + root().chain
    pair = read_pair(chain, PARAMETERS + LEAF.secret)
    assert pair.chain == LEAF.chain + intermediate().chain + root().chain
    assert pair.key == LEAF.secret


@pytest.mark.parametrize("kind", ["2048", "p256", "p384", "p521"])
def test_keys_that_envoy_serves(kind: str) -> None:
    """RSA of 2048 bits, and the three curves of NIST."""
    assert of(signed("a.com", key=key_of(kind))).names == ("a.com",)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("1024", "the key is too weak: RSA of 1024 bits, at least 2048"),
        ("p224", "Envoy serves no key on the curve secp224r1: use P-256"),
        ("k256", "Envoy serves no key on the curve secp256k1: use P-256"),
        ("ed25519", "the key is neither RSA nor ECDSA: many clients take no other"),
        ("dsa", "the key is neither RSA nor ECDSA: many clients take no other"),
    ],
)
def test_keys_that_are_not_served(kind: str, said: str) -> None:
    """They are refused here, with the reason, and not by an Envoy."""
    one = signed("a.com", key=key_of(kind))
    assert reason(one.chain, one.secret) == said


OTHER = signed("api.example.com", by=intermediate())
NO_NAME = signed(addresses=["10.0.0.1"])


@pytest.mark.parametrize(
    ("chain", "key", "said"),
    [
        (b"", LEAF.secret, "there is no certificate in PEM, or one that cannot be read"),
        (LEAF.secret, LEAF.chain, "a private key lies among the certificates"),
        (LEAF.chain + LEAF.secret, LEAF.secret, "a private key lies among the certificates"),
        (LEAF.chain[:-40], LEAF.secret, "there is no certificate in PEM, or one that cannot be read"),
        (LEAF.chain, b"", "there is no private key in PEM"),
        (LEAF.chain, LEAF.secret[:-5], "there is no private key in PEM"),
        (LEAF.chain, LEAF.secret[:90] + LEAF.secret[100:], "the private key cannot be read"),
        (LEAF.chain, LEAF.secret + OTHER.secret, "there are several private keys"),
        (LEAF.chain, PARAMETERS * 9 + LEAF.secret, "there is no private key in PEM"),
        (
            LEAF.chain,
            pem(LEAF.key, "secret"),
            "the private key is encrypted; nobody is there to give its password",
        ),
        (LEAF.chain, OTHER.secret, "the key is not that of the first certificate"),
        (
            intermediate().chain + LEAF.chain,
            LEAF.secret,
            "the key is not that of the first certificate",
        ),
        (
            LEAF.chain + root().chain,
            LEAF.secret,
            "the chain is not in order: certificate 1 is not signed by certificate 2",
        ),
        (
            LEAF.chain + root().chain + intermediate().chain,
            LEAF.secret,
            "the chain is not in order: certificate 1 is not signed by certificate 2",
        ),
        (
            LEAF.chain + intermediate().chain + LEAF.chain,
            LEAF.secret,
            "the chain is not in order: certificate 2 is not signed by certificate 3",
        ),
        (root().chain * 11, root().secret, "the chain has more than 10 certificates"),
        (NO_NAME.chain, NO_NAME.secret, "the certificate is for no DNS name (subjectAltName)"),
    ],
)
def test_what_is_no_pair(chain: bytes, key: bytes, said: str) -> None:
    """The reason is for people, who see it in `igw status`; no key is in it."""
    assert reason(chain, key) == said


def test_a_leaf_signed_by_way_of_sha_1() -> None:
    """Clients refuse it; the library signs none, so the name of the algorithm is put into one."""
    one = signed("a.com", key=key_of("2048"))
    sha256, sha1 = (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01" + end for end in (b"\x0b", b"\x05"))
    der = one.certificate.public_bytes(Encoding.DER).replace(sha256, sha1)
    chain = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    assert (
        reason(chain, one.secret) == "the certificate is signed by way of SHA-1 or MD5, which clients refuse"
    )


def test_a_certificate_that_says_a_thing_twice() -> None:
    """Which of both counts is unknown; the library makes none, so two names of things are made one."""
    one = signed("a.com", more=("1.2.3.4", "1.2.3.5"))
    der = one.certificate.public_bytes(Encoding.DER).replace(b"\x2a\x03\x05", b"\x2a\x03\x04")
    chain = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    assert reason(chain, one.secret) == "the certificate cannot be read"


@pytest.mark.parametrize(
    ("written", "instead", "said"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", "there is no certificate in PEM, or one that"),
        (b"\x82\x05a.com", b"\xa3\x05a.com", "the certificate cannot be read"),
    ],
    ids=["a version that there is not", "a name of X.400"],
)
def test_what_the_library_does_not_know(written: bytes, instead: bytes, said: str) -> None:
    """It has errors of its own for both, which are no ValueError; found by fuzzing."""
    one = signed("a.com", key=key_of("p256"))
    der = one.certificate.public_bytes(Encoding.DER)
    assert der.count(written) == 1
    chain = b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n"
    assert said in reason(chain % base64.encodebytes(der.replace(written, instead)), one.secret)


def test_an_issuer_of_the_same_name_does_not_pass_for_the_real_one() -> None:
    """Signatures are verified, not names compared."""
    impostor = signed(by=root(), authority=True, subject="intermediate")
    assert "not in order" in reason(LEAF.chain + impostor.chain, LEAF.secret)


def test_an_identity_needs_no_host_name() -> None:
    """Where it is not asked for, a pair may be nobody's host; its URIs are there."""
    one = signed(uris=["spiffe://a/b"])
    assert (read_pair(one.chain, one.secret, named=False).names, reason(one.chain, one.secret)) == (
        (),
        "the certificate is for no DNS name (subjectAltName)",
    )
    assert read_pair(one.chain, one.secret, named=False).uris == ("spiffe://a/b",)


def test_names_that_no_gateway_can_have_are_left_out() -> None:
    """A client compares them with a host name and finds none; the others are served."""
    one = signed("f*.a.com", "*.*.a.com", "a_b.com", "127.0.0.1", "a.com.", "*", "b.com")
    assert of(one).names == ("b.com",)


@pytest.mark.parametrize("name", ["ſ.com", "\N{KELVIN SIGN}.com", "", "a..b", "-a.com", "*a.com"])  # noqa: RUF001
def test_what_is_no_name(name: str) -> None:
    """Letters that only look like ASCII when their case is folded are none."""
    assert not is_name(name)


def test_the_key_does_not_show() -> None:
    """However a pair is printed, formatted or made part of an error."""
    pair = of(LEAF)
    texts = [
        repr(pair),
        str(pair),
        f"{pair}",
        repr(pair.key),
        str(pair.key),
        f"{pair.key}",
        f"{pair.key!r:>9}",
    ]
    body = LEAF.secret.splitlines()[1].decode()
    assert not [text for text in texts if body in text or "BEGIN" in text]
    assert pair.key == LEAF.secret  # it is the bytes all the same


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@settings(max_examples=60, deadline=None)
@given(
    where=st.integers(0, 10_000),
    what=st.binary(min_size=1, max_size=4),
    of_key=st.booleans(),
)
def test_any_damage_is_a_pair_or_a_bad_pair(where: int, what: bytes, *, of_key: bool) -> None:
    """Nothing else is raised, whatever the bytes."""
    chain, key = LEAF.chain + intermediate().chain, LEAF.secret

    def damaged(data: bytes) -> bytes:
        return data[: where % len(data)] + what + data[where % len(data) + len(what) :]

    try:
        pair = read_pair(chain if of_key else damaged(chain), damaged(key) if of_key else key)
    except BadPairError:
        return
    assert pair.names == ("api.example.com",)
