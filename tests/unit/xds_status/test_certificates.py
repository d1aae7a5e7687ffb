"""What Envoys are to show to clients, and what is said of it, from the files of a folder and the local authority."""

from datetime import UTC, datetime
from pathlib import Path

import prometheus_client
import pytest
from igw_certs.authority import Authority
from igw_xds.certificates import LOCAL, Certificates, CertificatesCollector
from igw_xds.observation import Coverage

from tests.pairs import write_pair

A, B = "a.example.com", "b.example.com"
SECOND = 1 / 86400


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give somebody who signs."""
    return Authority.kept(tmp_path_factory.mktemp("authority"))


def said(certificates: Certificates, *hosts: str) -> tuple[bool, str]:
    """Give what is said of host names, in short."""
    found = certificates.coverage(hosts)
    return found.trusted, found.reason


def test_a_folder(tmp_path: Path, authority: Authority) -> None:
    """A name is certified by itself or by a wildcard, one level deep; another is not."""
    write_pair(tmp_path / "a", authority.issue_server([A]))
    write_pair(tmp_path / "wild", authority.issue_server(["*.b.example.com"]))
    certificates = Certificates(tmp_path)
    certificates.refresh(())
    assert certificates.changes == 1
    assert set(certificates.pairs) == {"a", "wild"}
    assert said(certificates, A, "x.b.example.com") == (True, "Valid")
    for lacking in (B, "x.y.b.example.com"):
        assert certificates.coverage([A, lacking]) == Coverage(
            False, "Missing", f"No certificate for {lacking}"
        )
    certificates.refresh(())
    assert certificates.changes == 1


def test_of_two_the_valid_one_counts(tmp_path: Path, authority: Authority) -> None:
    """An expired certificate of a host name is none where a wildcard has the name."""
    write_pair(tmp_path / "a", authority.issue_server([A], days=0.001 * SECOND))
    certificates = Certificates(tmp_path)
    certificates.refresh(())
    assert said(certificates, A) == (False, "Expired")
    certificates = Certificates(tmp_path)
    write_pair(tmp_path / "wild", authority.issue_server(["*.example.com"]))
    certificates.refresh(())
    assert said(certificates, A) == (True, "Valid")


def test_broken_files(tmp_path: Path, authority: Authority) -> None:
    """A pair that was never good is none; its name is told, and no host name of it."""
    write_pair(tmp_path / "a", authority.issue_server([A]))
    (tmp_path / "a" / "tls.key").write_bytes(authority.issue_server([A]).key)
    certificates = Certificates(tmp_path)
    certificates.refresh(())
    assert certificates.pairs == {}
    assert said(certificates, A) == (False, "Missing")
    [told] = certificates.described()
    assert (told["name"], told["hostNames"], bool(told["trouble"])) == ("a", [], True)


def test_the_local_authority_fills_in(tmp_path: Path, authority: Authority) -> None:
    """Host names without a certificate get one of its own, made anew only when they change."""
    write_pair(tmp_path / "a", authority.issue_server([A]))
    certificates = Certificates(tmp_path, authority)
    assert certificates.names_hosts
    certificates.refresh([A])
    assert certificates.pairs[LOCAL].names == ("localhost",)
    certificates.refresh([A, B])
    first = certificates.pairs[LOCAL]
    assert set(first.names) == {B, "localhost"}
    before = certificates.changes
    certificates.refresh([B, A])
    assert certificates.changes == before
    assert certificates.pairs[LOCAL] is first
    assert said(certificates, A, B) == (True, "Valid")


def test_metrics(tmp_path: Path, authority: Authority) -> None:
    """When each ends, and whether its files are broken."""
    pair = authority.issue_server([A], days=30)
    write_pair(tmp_path / "a", pair)
    certificates = Certificates(tmp_path)
    certificates.refresh(())
    registry = prometheus_client.CollectorRegistry()
    registry.register(CertificatesCollector(certificates))
    labels = {"certificate": "a"}
    assert (
        registry.get_sample_value("igw_certificate_not_after_seconds", labels) == pair.not_after.timestamp()
    )
    assert registry.get_sample_value("igw_certificate_broken", labels) == 0
    assert pair.not_after > datetime.now(UTC)
