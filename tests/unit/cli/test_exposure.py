"""Nothing is served to other machines without TLS unless that is said aloud."""

from pathlib import Path

import pytest
from igw_certs.authority import Authority
from igw_cli.exposure import is_loopback

from tests.unit.cli.program import igw, run

SERVICES = ("xds", "extauth", "extproc", "collector")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com", "")],
)
def test_loopback(host: str, loopback: bool) -> None:  # noqa: FBT001 - a case
    """What other machines cannot reach; a name may lead anywhere."""
    assert is_loopback(host) == loopback


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_not_exposed_by_accident(service: str) -> None:
    """It does not start, and says which option and both ways out."""
    done = run(service, "--host", "0.0.0.0")
    assert done.status == 2
    for word in ("--host 0.0.0.0", "--tls-cert", "--in-clear"):
        assert word in done.err


def test_nor_is_the_api(tmp_path: Path) -> None:
    """It has an address and a certificate of its own."""
    done = run("xds", "--api-host", "0.0.0.0")
    assert done.status == 2
    for word in ("--api-host 0.0.0.0", "--api-certificate", "--in-clear"):
        assert word in done.err
    pair = Authority.kept(tmp_path / "authority").issue_server(["api.example.com"])
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "tls.crt").write_bytes(pair.chain)
    (tmp_path / "api" / "tls.key").write_bytes(pair.key)
    done = run("xds", "--host", "0.0.0.0", "--api-certificate", tmp_path / "api")
    assert "--host 0.0.0.0" in done.err  # the port for Envoys is still in clear


def test_said_aloud() -> None:
    """It starts, and warns; here its port is taken by nobody, so it is stopped by another option that is wrong."""
    done = igw("extproc", "--host", "0.0.0.0", "--in-clear", "--port", "1", "--ops-port", "1")
    assert "is served without TLS" in done.stderr + done.stdout


def test_no_key_goes_in_clear(tmp_path: Path) -> None:
    """Not even when it is said aloud."""
    done = run(
        "xds", "--host", "0.0.0.0", "--in-clear", "--https", "0.0.0.0:443", "--local-authority", tmp_path
    )
    assert (done.status, "in clear" in done.err) == (2, True)
