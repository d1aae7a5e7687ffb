"""`igw status` over a whole gateway: all is well, or what needs a look is named, with the reason and an exit status."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from igw_certs.authority import Authority
from igw_cli.client import Exit

from tests.pairs import CERTBOT, write_pair
from tests.ports import free_ports
from tests.real_envoy.running import Running, eventually, igw_up
from tests.real_envoy.test_status import TOO_LARGE, Api, restart_envoy, strict
from tests.unit.cli.program import Done, run

SERVICES = ("extauth", "extproc", "collector")


@dataclass(frozen=True)
class Looked:
    """A gateway that is looked at."""

    gateway: Running

    def url(self, child: str) -> str:
        return f"http://127.0.0.1:{self.gateway.option(child, '--ops-port')}"

    def status(self, *more: object) -> Done:
        services = [part for name in SERVICES for part in ("--service", self.url(name))]
        return run("status", "--ops-url", self.url("xds"), *services, *more)

    def told(self) -> tuple[int, dict[str, Any]]:
        done = self.status("--json")
        return done.status, json.loads(done.out)

    def troubles(self) -> set[tuple[str, str, str]]:
        """Give what needs a look; it and the exit status agree."""
        status, found = self.told()
        assert (status, found["well"]) == ((0, True) if not found["troubles"] else (1, False))
        return {(one["part"], one["name"], one["reason"]) for one in found["troubles"]}

    def comes_to(self, *troubles: tuple[str, str, str]) -> None:
        """Wait until these need a look, and nothing else."""
        try:
            eventually(lambda: self.troubles() == set(troubles))
        except AssertionError:
            raise AssertionError(self.troubles()) from None


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Give an empty folder."""
    (tmp_path / "certificates").mkdir()
    return tmp_path / "certificates"


@pytest.fixture
def looked(tmp_path: Path, certificates: Path) -> Iterator[Looked]:
    """A demo gateway that shows the certificates of a folder, beside those of its own authority."""
    with igw_up(tmp_path / "up", "--demo", "--certificates", str(certificates)) as gateway:
        yield Looked(gateway)


def test_certificates(looked: Looked, certificates: Path, tmp_path: Path) -> None:
    """A pair that breaks needs a look, and so does the gateway that it is for; renewed, all is well."""
    authority, chat = Authority.kept(tmp_path / "authority"), certificates / "chat"
    host = looked.gateway.host("chat")
    write_pair(chat, authority.issue_server([host]), CERTBOT)
    eventually(lambda: looked.told()[1]["certificates"][0]["name"] == "chat")
    looked.comes_to()
    lines = looked.status().lines
    assert [line.split()[:2] for line in lines if not line.startswith("control")] == [
        ["PART", "STATE"],
        ["gateways", "good"],
        ["deployments", "good"],
        ["Envoys", "good"],
        ["certificates", "good"],
        ["services", "good"],
    ]
    [shown] = [one for one in looked.told()[1]["certificates"] if one["name"] == "chat"]
    assert (shown["hostNames"], shown["state"], shown["daysLeft"]) == ([host], "good", 89)
    ends = shown["notAfter"].replace("T", " ")[:16]
    (chat / "privkey.pem").write_bytes(authority.issue_server([host]).key)
    kept = f"the key is not that of the first certificate. The one from before is shown until {ends} UTC"
    organization = looked.gateway.ready["organization"]
    looked.comes_to(
        ("certificates", "chat", f"broken: {kept}"),
        ("gateways", f"{organization}/chat", f"READY; Broken: chat: {kept}"),
    )
    done = looked.status()
    assert done.status == Exit.FAILED
    assert "broken: the key is not that of the first certificate" in done.out
    assert "PRIVATE KEY" not in done.out
    write_pair(chat, authority.issue_server([host], days=13), CERTBOT)
    eventually(
        lambda: any(part == "certificates" and "ends soon" in why for part, _, why in looked.troubles())
    )
    write_pair(chat, authority.issue_server([host]), CERTBOT)
    looked.comes_to()


def test_what_envoy_refuses_and_what_files_say(own_gateway: Running) -> None:
    """In Envoy's words, at the Envoy and at the objects; and the error of a file, though what was is served."""
    looked = Looked(own_gateway)
    looked.comes_to()
    api, port = Api(looked.gateway), looked.gateway.replica_port("small-a")
    restart_envoy(looked.gateway, strict)
    gateway = api.gateway("picky", pathBasedRouting={})
    api.deployment("bad", gateway, TOO_LARGE, port)
    eventually(lambda: api.status("gateway", gateway["id"]) == "ERROR")
    found = looked.troubles()
    assert {part for part, _, _ in found} >= {"gateways", "deployments", "Envoys"}
    assert all("program size" in why for _, _, why in found if "refuse" in why or "Rejected" in why)
    assert looked.told()[1]["gateways"]["byStatus"]["ERROR"] == 1
    looked.gateway.edit(lambda text: text.replace("bodyBasedRouting", "bodyBasedRoutin"))
    eventually(lambda: any(name == "definitions" for _, name, _ in looked.troubles()))
    assert "bodyBasedRoutin" in looked.status().out


def test_processes_that_are_away(gateway: Running) -> None:
    """A service that was named counts; without the control plane the services are shown all the same: status 6."""
    looked = Looked(gateway)
    [nobody] = free_ports(1)
    away = f"http://127.0.0.1:{nobody}"
    done = looked.status("--service", away)
    assert done.status == Exit.FAILED
    assert f"{away}  cannot be reached: " in done.out
    done = looked.status("--ops-url", away)
    assert done.status == Exit.UNAVAILABLE
    assert "3 of 3 ready" in done.out
    assert "gateways" not in done.out
    done = looked.status("--ops-url", looked.url("extauth"))
    assert (done.status, "is no control plane's operations port" in done.out) == (Exit.UNAVAILABLE, True)
    done = looked.status("--ops-url", looked.gateway.ready["envoyAdmin"])
    assert (done.status, "does not answer as an operations port" in done.out) == (Exit.UNAVAILABLE, True)
    assert run("status", "--ops-url", "nowhere").status == Exit.INVALID
