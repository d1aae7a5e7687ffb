"""The options of mutual TLS: all or none, files that can be used, and a certificate for the process that has them."""

from pathlib import Path

import pytest
from igw_certs.authority import Authority
from igw_certs.identity import Identity, Role

from tests.unit.cli.program import Done, run

DOMAIN = "gw.test"


def options(folder: Path, identity: Identity) -> list[object]:
    """Issue a certificate, and give the options that name it."""
    authority = Authority.kept(folder, DOMAIN)
    pair = authority.issue_identity(identity)
    (folder / "crt").write_bytes(pair.chain)
    (folder / "key").write_bytes(bytes(pair.key))
    files = ["--tls-cert", folder / "crt", "--tls-key", folder / "key", "--tls-ca", folder / "ca.crt"]
    return [*files, "--trust-domain", DOMAIN]


@pytest.mark.parametrize("command", ["xds", "extauth", "extproc", "collector", "envoy"])
def test_all_or_none(command: str, tmp_path: Path) -> None:
    """What is missing is named; nothing is started."""
    done = run(command, "--tls-cert", tmp_path / "crt", "--trust-domain", DOMAIN)
    assert done.status == 2
    assert "--tls-key and --tls-ca missing" in done.err


def test_the_environment_counts(tmp_path: Path) -> None:
    """A fleet's settings are often there."""
    done = run("extproc", IGW_TLS_CERT=str(tmp_path / "crt"), IGW_TLS_KEY=str(tmp_path / "key"))
    assert (done.status, "--tls-ca and --trust-domain missing" in done.err) == (2, True)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """The file is named, and why."""
    given = options(tmp_path, Identity(Role.EXTPROC))
    (tmp_path / "key").write_text("nonsense")
    done = run("extproc", *given)
    assert done.status == 2
    assert "there is no private key in PEM" in done.err


@pytest.mark.parametrize(
    ("command", "identity", "text"),
    [
        ("extauth", Identity(Role.EXTPROC), "is of the role extproc: here it must be extauth"),
        ("envoy", Identity(Role.XDS), "is of the role xds: here it must be proxy"),
        ("envoy", Identity(Role.PROXY), "--zone is east, and the certificate is for no zone"),
        ("envoy", Identity(Role.PROXY, "west"), "--zone is east, and the certificate is for the zone west"),
    ],
)
def test_a_certificate_of_somebody_else(command: str, identity: Identity, text: str, tmp_path: Path) -> None:
    """The other end would refuse it: better told here."""
    zone = ["--zone", "east"] if command == "envoy" else []
    done: Done = run(command, *zone, *options(tmp_path, identity))
    assert done.status == 2
    assert text in " ".join(done.err.split())


def test_a_trust_domain_that_is_none(tmp_path: Path) -> None:
    """It stands in every name."""
    done = run("extproc", *options(tmp_path, Identity(Role.EXTPROC))[:-1], "GW test")
    assert (done.status, "no trust domain" in done.err) == (2, True)
