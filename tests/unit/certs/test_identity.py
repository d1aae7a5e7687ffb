"""Who a process is stands in one URI of its certificate, as SPIFFE has it, and is read off that alone."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from igw_certs.identity import Identity, Role, checked_trust_domain, identity_of

from tests.unit.certs.signing import Signed, key_of, signed

DOMAIN = "igw.internal"
IDENTITIES = st.builds(
    Identity,
    st.sampled_from(Role),
    st.just("")
    | st.from_regex(r"[A-Za-z0-9._-]{1,255}", fullmatch=True).filter(lambda z: z not in {".", ".."}),
)


def read(one: Signed, trust_domain: str = DOMAIN) -> Identity | None:
    """Read an identity off a certificate."""
    return identity_of(one.certificate.public_bytes(Encoding.DER), trust_domain)


def with_uris(*uris: str) -> Signed:
    """Give a certificate with URIs and a host name."""
    return signed("a.com", uris=uris, key=key_of("p256"))


def test_the_form_of_an_identity() -> None:
    """Role, then zone; zones are compared without regard to case, so one spelling stands there."""
    assert Identity(Role.XDS).uri(DOMAIN) == "spiffe://igw.internal/igw/xds"
    assert (
        Identity(Role.PROXY, "US-EAST-04A").uri(DOMAIN) == "spiffe://igw.internal/igw/proxy/zone/us-east-04a"
    )
    assert Identity(Role.PROXY, "US-East") == Identity(Role.PROXY, "us-east")


@given(IDENTITIES)
def test_what_is_written_is_read(identity: Identity) -> None:
    """Every identity comes back from its own certificate, and from none of another trust domain."""
    one = with_uris(identity.uri(DOMAIN))
    assert read(one) == identity
    assert read(one, "other.internal") is None


@pytest.mark.parametrize("zone", ["a b", "a/b", "ü", "a%20b", ".", "..", "a\n", "a" * 256, "\N{KELVIN SIGN}"])
def test_a_zone_that_cannot_stand_in_a_certificate(zone: str) -> None:
    """SPIFFE's paths have plain letters only; the zone is named."""
    with pytest.raises(ValueError, match="cannot stand in a certificate"):
        Identity(Role.PROXY, zone)


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://igw.internal",
        "spiffe://igw.internal/",
        "spiffe://igw.internal/igw",
        "spiffe://igw.internal/igw/",
        "spiffe://igw.internal/igw/root",
        "spiffe://igw.internal/igw/PROXY",
        "spiffe://igw.internal/igw/proxy/",
        "spiffe://igw.internal/igw/proxy/zone",
        "spiffe://igw.internal/igw/proxy/zone/",
        "spiffe://igw.internal/igw/proxy/zone/a/",
        "spiffe://igw.internal/igw/proxy/zone/a/zone/b",
        "spiffe://igw.internal/igw/proxy/zone/..",
        "spiffe://igw.internal/igw/proxy/zone/a%2fb",
        "spiffe://igw.internal/igw/proxy?zone=a",
        "spiffe://igw.internal/igw/proxy#a",
        "spiffe://igw.internal//igw/proxy",
        "spiffe://igw.internal:443/igw/proxy",
        "spiffe://user@igw.internal/igw/proxy",
        "spiffe://igw.internal.evil.com/igw/proxy",
        "spiffe://IGW.internal/igw/proxy",
        "SPIFFE://igw.internal/igw/proxy",
        "https://igw.internal/igw/proxy",
        "/igw/proxy",
        "spiffe://igw.internal/other/igw/proxy",
        "spiffe://igw.internal/igw/proxy\n",
        "",
    ],
)
def test_another_form_is_nobody(uri: str) -> None:
    """What is nearly one is none."""
    assert read(with_uris(uri)) is None


def test_one_uri_and_no_authority() -> None:
    """Several could be read as one or the other; who signs for others is no leaf; a name is no identity."""
    uri = Identity(Role.PROXY).uri(DOMAIN)
    assert read(with_uris(uri)) == Identity(Role.PROXY)
    assert read(with_uris(uri, Identity(Role.XDS).uri(DOMAIN))) is None
    assert read(with_uris(uri, uri)) is None
    assert read(with_uris(uri, "https://a.com")) is None
    assert read(with_uris()) is None
    assert read(signed(uri)) is None
    assert read(signed(key=key_of("p256"))) is None
    assert read(signed(uris=[uri], authority=True)) is None


@pytest.mark.parametrize(
    ("written", "instead"),
    [(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09"), (b"\x86\x1dspiffe:", b"\xa3\x1dspiffe:")],
    ids=["a version that there is not", "a name of X.400"],
)
def test_what_the_library_does_not_know_is_nobody(written: bytes, instead: bytes) -> None:
    """It has errors of its own for both, which are no ValueError; found by fuzzing."""
    der = with_uris(Identity(Role.XDS).uri(DOMAIN)).certificate.public_bytes(Encoding.DER)
    assert der.count(written) == 1
    assert identity_of(der.replace(written, instead), DOMAIN) is None


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_any_bytes_are_somebody_or_nobody(damage: bytes, where: int) -> None:
    """A certificate that cannot be read is nobody's; nothing is raised."""
    good = with_uris(Identity(Role.PROXY, "a").uri(DOMAIN)).certificate.public_bytes(Encoding.DER)
    at = where % len(good)
    for der in (damage, good[:at] + damage + good[at + len(damage) :], good[:at]):
        assert isinstance(identity_of(der, DOMAIN), Identity | None)


@pytest.mark.parametrize("text", ["", "A.b", "a/b", "-a", "a b", "a:1", "a" * 256, "\N{KELVIN SIGN}"])
def test_what_is_no_trust_domain(text: str) -> None:
    """It is refused with what it may be."""
    assert checked_trust_domain(DOMAIN) == DOMAIN
    with pytest.raises(ValueError, match="is no trust domain: use lower-case letters"):
        checked_trust_domain(text)
