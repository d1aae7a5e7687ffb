"""Nothing is served to other machines without TLS unless that is said aloud."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from igw_certs.authority import Authority
from igw_cli.exposure import is_loopback, service_exposure

from tests.pairs import write_pair
from tests.ports import free_ports
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
    write_pair(tmp_path / "api", pair)
    done = run("xds", "--host", "0.0.0.0", "--api-certificate", tmp_path / "api")
    assert "--host 0.0.0.0" in done.err  # the port for Envoys is still in clear


def test_said_aloud() -> None:
    """It starts, and warns; here its port is taken by nobody, so it is stopped by another option that is wrong."""
    done = igw("extproc", "--host", "0.0.0.0", "--in-clear", "--port", "1", "--ops-port", "1")
    assert "is served without TLS" in done.stderr + done.stdout


def test_clients_in_clear() -> None:
    """Envoys that serve other machines without TLS are warned of: it may end before them."""
    done = igw("xds", "--listen", "0.0.0.0:8080", "--port", "1", "--ops-port", "1", "--no-api")
    assert "clients are served without TLS on 0.0.0.0:8080" in done.stderr + done.stdout
    done = igw("xds", "--listen", "127.0.0.1:8080", "--port", "1", "--ops-port", "1", "--no-api")
    assert "without TLS" not in done.stderr + done.stdout


OUTSIDE = "10.0.0.1"
WATCHED = f"the operations port has no TLS, and listens on {OUTSIDE}: keep it to those who watch"


@pytest.mark.parametrize(
    ("host", "ops_host", "in_clear", "expected"),
    [
        ("127.0.0.2", None, False, ("127.0.0.2", ())),
        (OUTSIDE, None, False, ("127.0.0.1", ())),
        (OUTSIDE, OUTSIDE, False, (OUTSIDE, (WATCHED,))),
        (OUTSIDE, None, True, (OUTSIDE, (WATCHED,))),
        (OUTSIDE, "127.0.0.2", True, ("127.0.0.2", ())),
        ("127.0.0.1", OUTSIDE, False, (OUTSIDE, (WATCHED,))),
    ],
)
def test_operations_ports(
    host: str,
    ops_host: str | None,
    in_clear: bool,  # noqa: FBT001 - a case
    expected: tuple[str, tuple[str, ...]],
) -> None:
    """They have no TLS when the others have: they stay on this machine unless it is said, and then that is told."""
    assert service_exposure(host, ops_host, tls=True, in_clear=in_clear) == expected


def test_operations_ports_have_an_address_of_their_own() -> None:
    """Each service listens there, and not where it listens for Envoys."""
    with contextlib.ExitStack() as stack:
        ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        for service, ops in ports.items():
            api = ("--no-api",) if service == "xds" else ()
            grpc = ("--grpc-port=0",) if service == "extauth" else ()
            words = (service, "--port=0", f"--ops-port={ops}", "--ops-host=127.0.0.2", *api, *grpc)
            started = subprocess.Popen([sys.executable, "-m", "igw_cli", *words], stderr=subprocess.DEVNULL)
            stack.callback(started.wait)
            stack.callback(started.kill)
        for ops in ports.values():
            assert _answers(f"http://127.0.0.2:{ops}/healthz")
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"http://127.0.0.1:{ops}/healthz")


def _answers(url: str) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url).is_success
        time.sleep(0.1)
    return False


def test_no_key_goes_in_clear(tmp_path: Path) -> None:
    """Not even when it is said aloud."""
    done = run(
        "xds", "--host", "0.0.0.0", "--in-clear", "--https", "0.0.0.0:443", "--local-authority", tmp_path
    )
    assert (done.status, "in clear" in done.err) == (2, True)
