"""`igw status` and a real control plane to which no Envoy comes; a whole gateway is looked at in `tests/real_envoy`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from igw_certs.authority import Authority
from igw_cli.client import Exit

from tests.builders import gateway_spec, write
from tests.pairs import write_pair
from tests.ports import free_ports
from tests.real_envoy.running import eventually
from tests.unit.cli.program import Done, igw, run


@dataclass
class Plane:
    """A running control plane, whose API shows the pair of a folder."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path
    authority: Authority

    def status(self, *more: object, **environment: str) -> Done:
        return run("status", "--ops-url", self.url, *more, **environment)

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.status("--json").out)
        return found

    def certificate(self) -> tuple[str, str]:
        [shown] = self.told()["certificates"]
        assert shown["name"] == "management API"
        return shown["state"], shown["trouble"]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """Run one that has a store, a definition file and a certificate of its API."""
    authority, folder = Authority.kept(tmp_path / "authority"), tmp_path / "api"
    write_pair(folder, authority.issue_server(["localhost"]))
    definitions = write(tmp_path / "gateways.yaml", gateway_spec(1))
    ports = free_ports(4)
    names = ("--port", "--ops-port", "--api-port", "--api-grpc-port")
    options = [part for name, port in zip(names, ports, strict=True) for part in (name, str(port))]
    options += [
        "-f",
        str(definitions),
        "--state-dir",
        str(tmp_path / "state"),
        "--api-certificate",
        str(folder),
    ]
    url = f"http://127.0.0.1:{ports[1]}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "igw_cli", "xds", *options], stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or _answers(url), 30)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield Plane(process, url, folder, authority)
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_what_is_seen_of_it(plane: Plane, tmp_path: Path) -> None:
    """Where definitions come from, and why nothing serves; services that nobody named are elsewhere."""
    eventually(lambda: "NoProxy" in plane.status().out, 20)
    done = plane.status()
    assert (done.status, done.err) == (Exit.FAILED, "")
    lines = [line.split() for line in done.lines]
    [plane_line] = [" ".join(line) for line in lines if line[:2] == ["control", "plane"]]
    assert plane_line.startswith("control plane good ready, version ")
    assert plane_line.endswith(f"s, store {tmp_path}/state/gateway.db, definitions {tmp_path}/gateways.yaml")
    why = "No Envoy of zone US-EAST-04A is connected"
    assert [" ".join(line) for line in lines[-2:]] == [
        f"gateways acme/gateway-1 CREATING; NoProxy: Programmed proxies: 0/0. {why}",
        "Envoys no Envoy is connected",
    ]
    assert ["gateways", "look", "1", "CREATING"] in lines
    found = plane.told()
    assert {key: found["controlPlane"][key] for key in ("url", "ready", "store", "files")} == {
        "url": plane.url,
        "ready": True,
        "store": str(tmp_path / "state" / "gateway.db"),
        "files": [str(tmp_path / "gateways.yaml")],
    }
    assert found["troubles"][0]["part"] == "gateways"


def test_the_certificate_of_the_api(plane: Plane) -> None:
    """It is seen to as those of hosts are: nobody else tells of its end."""
    assert plane.certificate() == ("good", "")
    (plane.folder / "tls.key").write_bytes(b"nothing")
    eventually(lambda: plane.certificate()[0] == "broken")
    assert plane.certificate()[1].startswith(
        "there is no private key in PEM. The one from before is shown until "
    )
    write_pair(plane.folder, plane.authority.issue_server(["localhost"], days=2))
    eventually(lambda: plane.certificate()[0] == "ends soon")
    assert plane.certificate()[1].endswith(" UTC, for localhost")


def test_settings_from_the_environment(plane: Plane) -> None:
    """As a container sets them; several services in one variable."""
    [nobody] = free_ports(1)
    away = f"http://127.0.0.1:{nobody}"
    done = igw("status", "--json", IGW_OPS_URL=plane.url, IGW_SERVICE_OPS_URLS=f"{plane.url} {away}")
    assert done.returncode == Exit.FAILED
    assert [(one["url"], one["ready"]) for one in json.loads(done.stdout)["services"]] == [
        (plane.url, True),
        (away, False),
    ]


def test_a_control_plane_that_ended(plane: Plane) -> None:
    """Status 6, on standard output too, for who reads that alone."""
    plane.process.kill()
    plane.process.wait()
    done = plane.status()
    assert done.status == Exit.UNAVAILABLE
    assert "cannot be reached" in done.out
    assert not plane.told()["controlPlane"]["ready"]


@pytest.mark.parametrize("option", ["--ops-url", "--service"])
def test_what_is_no_url(option: str) -> None:
    """The option is named."""
    done = run("status", option, "nowhere")
    assert done.status == Exit.INVALID
    assert f"{option} must be an http:// or https:// URL: 'nowhere'" in done.err
