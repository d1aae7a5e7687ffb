"""A local authority is made once, keeps its key to its owner, and signs what clients and our processes take."""

import os
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from igw_certs.authority import Authority, AuthorityError
from igw_certs.identity import Identity, Role, identity_of
from igw_certs.pair import KeyPair, read_pair

from tests.unit.certs.handshakes import handshake, plain_client, plain_server
from tests.unit.certs.signing import NOW, signed, write


def kept(folder: Path, now: datetime = NOW, trust_domain: str = "igw.internal") -> Authority:
    """Give the authority of a folder at a time."""
    return Authority.kept(folder, trust_domain, lambda: now)


def mode(path: Path) -> int:
    """Give who may do what with a file."""
    return path.stat().st_mode & 0o777


def leaf(pair: KeyPair) -> x509.Certificate:
    """Give a pair's certificate."""
    return x509.load_pem_x509_certificate(pair.chain)


def test_it_is_made_once(tmp_path: Path) -> None:
    """In a folder that need not be there; then it is what it was, with the trust domain that it was made with."""
    folder = tmp_path / "a" / "ca"
    authority = kept(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["ca.crt", "ca.key"]
    assert (mode(folder / "ca.crt"), mode(folder / "ca.key")) == (0o644, 0o600)
    assert authority.certificate == (folder / "ca.crt").read_bytes()
    assert kept(folder, NOW + timedelta(days=1), "other.internal") == authority
    assert (authority.trust_domain, authority.not_after) == ("igw.internal", NOW + timedelta(days=3650))


def test_the_modes_do_not_hang_on_the_umask(tmp_path: Path) -> None:
    """Others must read the certificate, and nobody the key."""
    before = os.umask(0o077)
    try:
        kept(tmp_path / "tight")
        os.umask(0)
        kept(tmp_path / "loose")
    finally:
        os.umask(before)
    modes = [(mode(tmp_path / f / "ca.crt"), mode(tmp_path / f / "ca.key")) for f in ("tight", "loose")]
    assert modes == [(0o644, 0o600)] * 2


def test_of_several_that_make_it_one_does(tmp_path: Path) -> None:
    """Threads here, and processes as well: all read the same."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(kept, [tmp_path / "threads"] * 8))
    assert len({one.certificate for one in made}) == 1
    script = (
        "import sys; from pathlib import Path; from igw_certs.authority import Authority as A; "
        "print(A.kept(Path(sys.argv[1])).fingerprint)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "processes")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1


def test_what_it_issues_to_servers_clients_take(tmp_path: Path) -> None:
    """By name, wildcard and address, and by no other; what it issues reads as a pair."""
    authority = Authority.kept(tmp_path)
    pair = authority.issue_server(["API.gw.localhost", "*.x.gw.localhost"], ["127.0.0.1", "::1"])
    assert pair == read_pair(pair.chain, pair.key)
    assert pair.names == ("api.gw.localhost", "*.x.gw.localhost")
    server, client = plain_server(pair), plain_client(authority.certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by itself
    for name in ("api.gw.localhost", "a.x.gw.localhost", "127.0.0.1", "::1"):
        assert handshake(client, server, name).version() == "TLSv1.3"
    for name in ("gw.localhost", "a.b.x.gw.localhost", "127.0.0.2"):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(client, server, name)


def test_what_it_issues_to_servers_is_nobody_of_ours(tmp_path: Path) -> None:
    """A host's certificate opens none of our ports: it is for servers alone, and has no identity."""
    authority = Authority.kept(tmp_path)
    pair = authority.issue_server(["a.localhost"])
    assert identity_of(leaf(pair).public_bytes(Encoding.DER), "igw.internal") is None
    us = authority.issue_identity(Identity(Role.XDS), names=["localhost"])
    with pytest.raises(ssl.SSLError):
        handshake(
            plain_client(authority.certificate, pair), plain_server(us, authority.certificate), "localhost"
        )


def test_what_it_issues_to_our_processes(tmp_path: Path) -> None:
    """One URI says who it is; names and addresses say where, for clients that look at these."""
    authority = kept(tmp_path, trust_domain="prod.example")
    pair = authority.issue_identity(Identity(Role.PROXY, "US-East"), 30, ["edge.example"], ["10.0.0.1"])
    assert identity_of(leaf(pair).public_bytes(Encoding.DER), "prod.example") == Identity(
        Role.PROXY, "us-east"
    )
    assert (pair.names, pair.uris) == (("edge.example",), ("spiffe://prod.example/igw/proxy/zone/us-east",))
    assert (pair.not_before, pair.not_after) == (NOW - timedelta(minutes=5), NOW + timedelta(days=30))
    assert authority.issue_identity(Identity(Role.PROXY)).key != pair.key


def test_it_stands_by_what_it_would_issue_again(tmp_path: Path) -> None:
    """The order of names is nothing; whose it is, for how long still, and who signed it is all."""
    authority, of, places = (
        kept(tmp_path / "a"),
        Identity(Role.XDS),
        (["b.com", "A.com"], ["10.0.0.1", "::1"]),
    )
    pair = authority.issue_identity(of, 90, *places)
    week = timedelta(days=7)

    def later(days: float) -> bool:
        clock = kept(tmp_path / "a", NOW + timedelta(days=days))
        return clock.stands_by(pair, of, week, *places)

    assert authority.stands_by(pair, of, week, ["a.com", "b.com"], ["0:0::1", "10.0.0.1"])
    assert [later(days) for days in (-1, 0, 82.9, 83, 91)] == [False, True, True, False, False]
    assert not authority.stands_by(pair, Identity(Role.PROXY), week, *places)
    assert not authority.stands_by(pair, Identity(Role.XDS, "a"), week, *places)
    assert not authority.stands_by(pair, of, week, ["a.com"], places[1])
    assert not authority.stands_by(pair, of, week, places[0])
    assert not authority.stands_by(authority.issue_server(*places), of, week, *places)
    assert not kept(tmp_path / "b").stands_by(pair, of, week, *places)


def test_nothing_outlives_the_authority(tmp_path: Path) -> None:
    """What it signs ends with it at the latest; afterwards it signs nothing."""
    kept(tmp_path)
    almost = kept(tmp_path, NOW + timedelta(days=3640))
    assert almost.issue_server(["a.com"], days=90).not_after == almost.not_after
    with pytest.raises(AuthorityError, match="is good until 2036-02-27 only"):
        kept(tmp_path, NOW + timedelta(days=3650)).issue_server(["a.com"])


@pytest.mark.parametrize(
    ("names", "addresses", "said"),
    [
        (["a b"], [], "'a b' is not a host name, nor a wildcard as *.example.com"),
        (["*"], [], "'*' is not a host name, nor a wildcard as *.example.com"),
        (["127.0.0.1"], [], "'127.0.0.1' is not a host name, nor a wildcard as *.example.com"),
        (["a.com"], ["10.0.0"], "'10.0.0' is not an IP address"),
        ([], [], "a server's certificate needs a name or an address"),
    ],
)
def test_what_cannot_be_issued(names: list[str], addresses: list[str], said: str, tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(AuthorityError) as caught:
        kept(tmp_path).issue_server(names, addresses)
    assert str(caught.value) == said


def broken(folder: Path, files: dict[str, bytes], rights: int = 0o600) -> str:
    """Give what is said of an authority whose files are these; None removes one."""
    write(folder, files)
    if (folder / "ca.key").exists():
        (folder / "ca.key").chmod(rights)
    with pytest.raises(AuthorityError) as caught:
        kept(folder)
    return str(caught.value)


def test_a_broken_authority_is_not_made_anew(tmp_path: Path) -> None:
    """That would cost all that it ever signed; it is said what is wrong."""
    rescue = ". Put ca.crt and ca.key back as they were, or remove both and issue all certificates anew"
    one, other = signed(authority=True), signed(authority=True)
    a, b, c, d, e = (tmp_path / name for name in "abcde")
    assert broken(a, {"ca.crt": one.chain}) == (
        f"the authority in {a} cannot be used: ca.key: No such file or directory{rescue}"
    )
    assert (
        broken(b, {"ca.key": one.secret}) == f"the authority in {b} cannot be used: ca.crt is missing{rescue}"
    )
    assert broken(c, {"ca.crt": one.chain, "ca.key": other.secret}) == (
        f"the authority in {c} cannot be used: the key is not that of the first certificate{rescue}"
    )
    assert broken(d, {"ca.crt": one.chain, "ca.key": one.secret}) == (
        f"{d / 'ca.crt'} is not of `igw certs ca`: name another folder"
    )
    assert broken(e, {"ca.crt": one.chain, "ca.key": one.secret}, 0o640) == (
        f"{e / 'ca.key'} may be read by others than its owner: chmod 600 {e / 'ca.key'}"
    )


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The system's reason is given."""
    (tmp_path / "file").touch()
    with pytest.raises(AuthorityError, match=r"no authority can be made in .*/file: File exists"):
        kept(tmp_path / "file")


def test_no_key_shows(tmp_path: Path) -> None:
    """Neither its own nor what it issued."""
    authority = kept(tmp_path)
    pair = authority.issue_server(["a.com"])
    shown = repr(authority) + repr(pair)
    for pem in ((tmp_path / "ca.key").read_bytes(), bytes(pair.key)):
        assert pem.splitlines()[1].decode() not in shown
