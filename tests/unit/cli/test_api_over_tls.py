"""`igw xds --api-certificate`: the management API over TLS, REST and gRPC, with a certificate that is renewed."""

import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from igw_certs.authority import Authority

from tests.pairs import write_pair
from tests.ports import free_ports
from tests.unit.cli.program import igw

GATEWAYS = "/v1alpha1/inference/gateways"


@dataclass
class Plane:
    """A running control plane, whose API shows the pair of a folder."""

    rest: int
    grpc: int
    token: str
    folder: Path
    authority: Authority

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority.certificate.decode())

    def get(self, scheme: str = "https") -> httpx.Response:
        with httpx.Client(verify=self.trust, headers={"Authorization": f"Bearer {self.token}"}) as client:
            return client.get(f"{scheme}://localhost:{self.rest}{GATEWAYS}")

    def shown(self, port: int) -> int:
        """Give the serial number of the certificate that is shown at a port."""
        text = ssl.get_server_certificate(("127.0.0.1", port), timeout=5)
        return x509.load_pem_x509_certificate(text.encode()).serial_number


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """Run one."""
    authority, folder, token = Authority.kept(tmp_path / "authority"), tmp_path / "api", tmp_path / "token"
    write_pair(folder, authority.issue_server(["localhost"], ["127.0.0.1"]))
    xds, ops, rest, over_grpc = free_ports(4)
    ports = (f"--port={xds}", f"--ops-port={ops}", f"--api-port={rest}", f"--api-grpc-port={over_grpc}")
    admin = ("--admin-token-file", str(token), "--admin-organization-id", "acme")
    command = [sys.executable, "-m", "igw_cli", "xds", *ports, *admin, "--api-certificate", str(folder)]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as started:
        try:
            deadline = time.monotonic() + 30
            while "management API listening" not in (tmp_path / "log").read_text():
                assert started.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)
            yield Plane(rest, over_grpc, token.read_text().strip(), folder, authority)
        finally:
            started.kill()


def test_both_transports(plane: Plane) -> None:
    """Both are served over TLS and verified; without TLS nothing is."""
    assert plane.get().json() == {"items": []}
    with pytest.raises(httpx.TransportError):
        plane.get("http")
    credentials = grpc.ssl_channel_credentials(plane.authority.certificate)
    with grpc.secure_channel(f"localhost:{plane.grpc}", credentials) as channel:
        call = channel.unary_unary("/coreweave.inference.v1alpha1.GatewayService/ListGateways")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_command_trusts_whom_it_is_told_to(plane: Plane, tmp_path: Path) -> None:
    """`igw get` asks over TLS with IGW_CA_FILE; without it, or with another authority, it sends nothing."""
    (tmp_path / "ca.crt").write_bytes(plane.authority.certificate)
    (tmp_path / "other.crt").write_bytes(Authority.kept(tmp_path / "other").certificate)
    asked = ("get", "gateways", "--server", f"https://localhost:{plane.rest}", "--token", plane.token)
    for name, status, told in (
        ("ca.crt", 0, ""),
        ("other.crt", 6, "CERTIFICATE_VERIFY_FAILED"),
        ("", 6, "CERTIFICATE_VERIFY_FAILED"),
        ("none.crt", 2, "none.crt cannot be read: No such file"),
    ):
        done = igw(*asked, IGW_CA_FILE=str(tmp_path / name) if name else "")
        assert (done.returncode, told in done.stderr) == (status, True), (name, done.stdout, done.stderr)


def test_a_renewed_and_a_broken_pair(plane: Plane) -> None:
    """A renewed one is shown to new connections without a restart; of a broken one, the one before."""
    serial = write_pair(plane.folder, plane.authority.issue_server(["localhost"], ["127.0.0.1"]))
    for port in (plane.rest, plane.grpc):
        deadline = time.monotonic() + 5
        while plane.shown(port) != serial:
            assert time.monotonic() < deadline, port
            time.sleep(0.1)
    (plane.folder / "tls.key").write_bytes(plane.authority.issue_server(["localhost"]).key)
    time.sleep(1.5)
    assert [plane.shown(port) for port in (plane.rest, plane.grpc)] == [serial, serial]
    assert plane.get().status_code == 200


def test_a_folder_without_a_pair(tmp_path: Path) -> None:
    """Nothing starts, and it says which folder."""
    done = igw(
        "xds", "--port=0", "--ops-port=0", "--api-port=0", "--api-grpc-port=0", "--api-certificate", tmp_path
    )
    assert done.returncode == 2
    assert f"{tmp_path} must hold one certificate with its key" in done.stderr + done.stdout
