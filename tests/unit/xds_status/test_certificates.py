"""What Envoys are to show to clients, and what is said of it, from the files of a folder and the local authority."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import prometheus_client
import pytest
from igw_certs.authority import OWN_DAYS, Authority
from igw_certs.pair import KeyPair
from igw_xds.certificates import LOCAL, Certificates, CertificatesCollector
from igw_xds.observation import Coverage
from structlog.testing import capture_logs

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


def test_a_folders_pair_may_be_called_as_ours_is_kept(tmp_path: Path, authority: Authority) -> None:
    """The local authority's pair has a name that no folder can have: it takes nobody's place."""
    write_pair(tmp_path / "local", authority.issue_server([A]))
    certificates = Certificates(tmp_path, authority)
    certificates.refresh([A, B])
    assert certificates.pairs["local"].names == (A,)
    assert certificates.pairs[LOCAL].names == (B, "localhost")


def kept(folder: Path) -> Certificates:
    """Give what a start with a local authority's folder begins with."""
    certificates = Certificates(None, Authority.kept(folder), folder)
    certificates.refresh([A])
    return certificates


def test_the_next_start_has_the_same_pair(tmp_path: Path) -> None:
    """Unless another authority signs by then: its clients would refuse what the one before has signed."""
    first = kept(tmp_path).pairs[LOCAL]
    assert kept(tmp_path).pairs[LOCAL] == first
    for name in ("ca.crt", "ca.key"):
        (tmp_path / name).unlink()
    second = kept(tmp_path)
    assert second.pairs[LOCAL] != first
    assert Authority.found(tmp_path).signed(second.pairs[LOCAL])
    assert said(second, A) == (True, "Valid")


def aged(folder: Path, left: timedelta) -> KeyPair:
    """Make an authority that has so much time left, and leave a pair for A as a run before would; give that."""
    made = datetime.now(UTC) + left - timedelta(days=OWN_DAYS)
    Authority.kept(folder, clock=lambda: made)
    pair = Authority.found(folder, lambda: made + timedelta(days=OWN_DAYS - 60)).issue_server(
        [A, "localhost"]
    )
    write_pair(folder / "local", pair)
    return pair


def test_a_pair_that_ends_with_its_authority_stays(tmp_path: Path) -> None:
    """Another one would end no later; for other host names one is made all the same."""
    pair = aged(tmp_path, timedelta(days=20))
    certificates = kept(tmp_path)
    assert certificates.pairs[LOCAL] == pair
    certificates.refresh([A, B])
    second = certificates.pairs[LOCAL]
    assert second.not_after == pair.not_after
    certificates.refresh([A, B])
    assert certificates.pairs[LOCAL] is second
    assert certificates.changes == 2


def test_an_authority_that_has_ended_is_told_of(tmp_path: Path) -> None:
    """With what to do: nobody trusts what it signs, and nobody else makes it anew."""
    pair = aged(tmp_path, -timedelta(days=1))
    with capture_logs() as logs:
        certificates = kept(tmp_path)
        certificates.refresh([A, B])
    ended = f"{pair.not_after:%Y-%m-%d}"
    told = (
        f"local/authority: the local authority ended on {ended}: remove ca.crt and ca.key from {tmp_path}, "
        "start again, and have clients trust the new one"
    )
    end = f"The certificate ended on {pair.not_after:%Y-%m-%d %H:%M} UTC"
    assert certificates.coverage([A]) == Coverage(False, "Expired", f"{end}. {told}")
    assert certificates.coverage([B]) == Coverage(False, "Missing", f"No certificate for {B}. {told}")
    assert [f"{line['certificate']}: {line['trouble']}" for line in logs] == [told]


def test_a_pair_that_cannot_be_kept_is_trouble(tmp_path: Path) -> None:
    """The one before is shown, why is told once, and it is made once it can be."""
    folder, aside = tmp_path / "authority", tmp_path / "aside"
    certificates = kept(folder)
    first = certificates.pairs[LOCAL]
    folder.rename(aside)
    with capture_logs() as logs:
        for _ in range(2):
            certificates.refresh([A, B])
    trouble = f"the new one cannot be kept in {folder}: No such file or directory"
    assert [(line["certificate"], line["trouble"]) for line in logs] == [(LOCAL, trouble)]
    assert certificates.pairs[LOCAL] is first
    assert said(certificates, A) == (False, "Broken")
    assert certificates.coverage([B]).message == f"No certificate for {B}. {LOCAL}: {trouble}"
    assert certificates.changes == 2
    aside.rename(folder)
    certificates.refresh([A, B])
    assert said(certificates, A, B) == (True, "Valid")


def test_an_authority_of_another_time_is_trouble(tmp_path: Path) -> None:
    """A clock that was set back makes it one that is not good yet."""
    Authority.kept(tmp_path, clock=lambda: datetime.now(UTC) + timedelta(days=1))
    certificates = kept(tmp_path)
    [state] = certificates.states.values()
    assert (state.pair, "the authority's own certificate" in state.trouble) == (None, True)


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
