"""`igw envoy` with and without its agent, around a program that only says how it was started; and agents that fail."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage
from igw_agent.conversation import Kept
from igw_cli import launcher
from igw_cli.agent import answering, settings
from igw_xds.bootstrap import Node
from igw_xds.settings import HostPort
from igw_xds.snapshot import CLUSTER, LISTENER

from tests.unit.cli.program import run

ENVOY = """#!/bin/sh
cp "$2" "$SEEN/bootstrap.json"
ls -lR "$(dirname "$2")" "$SEEN" > "$SEEN/files"
exit 3
"""
NODE = Node("one", "zone", HostPort("127.0.0.1", 1), HostPort("127.0.0.1", 2))


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what a stand-in for Envoy sees: its bootstrap, and the files that are there."""
    program = tmp_path / "envoy"
    program.write_text(ENVOY)
    program.chmod(0o755)
    monkeypatch.setattr(launcher, "envoy_command", lambda: str(program))
    monkeypatch.setenv("SEEN", str(tmp_path))
    monkeypatch.setenv("IGW_ENVOY_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def xds_address(seen: Path) -> Any:
    """Give where Envoy was told to ask."""
    bootstrap = json.loads((seen / "bootstrap.json").read_text())
    [cluster] = [c for c in bootstrap["static_resources"]["clusters"] if c["name"] == "igw-xds"]
    return cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]


def test_envoy_asks_the_agent(seen: Path) -> None:
    """At a socket in a folder that is private, and what it accepts is kept in one that is named after the node."""
    assert run("envoy", "--xds", "192.0.2.1:18000", "--node-id", "../a b").status == 3
    path = Path(xds_address(seen)["pipe"]["path"])
    files = (seen / "files").read_text()
    assert "config.db" in files
    assert [line.split()[0][0] for line in files.splitlines() if line.endswith(" ads")] == ["s"]
    assert not path.parent.exists()
    assert [folder.name for folder in (seen / "state").iterdir()] == ["envoy-..%2Fa%20b"]


def test_no_cache(seen: Path) -> None:
    """Envoy asks the control plane itself, and nothing is kept."""
    assert run("envoy", "--xds", "192.0.2.1:18000", "--no-cache").status == 3
    assert xds_address(seen)["socket_address"] == {"address": "192.0.2.1", "port_value": 18000}
    assert not (seen / "state").exists()


async def test_an_agent_that_fails_ends_envoy(capsys: pytest.CaptureFixture[str]) -> None:
    """Not silently: it is said, and the status has whatever runs it start it again."""

    async def fail() -> None:
        raise RuntimeError("it broke")

    async with asyncio.timeout(20):
        status = await launcher.run(["sleep", "60"], "http://127.0.0.1:1", 0, asyncio.create_task(fail()))
    assert status == 1
    assert "the agent failed" in capsys.readouterr().out


def test_node_ids_do_not_share() -> None:
    """Whatever a node is called, its folder is in the state folder, and its own."""
    names = ["a", "a/b", "a%2Fb", "..", ".", "../a"]
    folders = {
        settings(Node(name, "z", NODE.admin, NODE.xds), HostPort("h", 1), Path("ads"), Path("/s"), 3).folder
        for name in names
    }
    assert len(folders) == len(names)
    assert {folder.parent for folder in folders} == {Path("/s")}
    assert all(folder.name not in {".", ".."} for folder in folders)


def test_what_is_kept_is_served_as_it_was() -> None:
    """The same versions and the same bytes, so that the control plane has nothing to send again."""
    body = AnyMessage(type_url=CLUSTER, value=b"\x0a\x01a").SerializeToString()
    contents = {(CLUSTER, "a"): Kept(CLUSTER, "a", "v1", body)}
    answer = answering(contents)
    [data] = answer(DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString())
    response = DeltaDiscoveryResponse.FromString(data)
    [resource] = response.resources
    assert (resource.name, resource.version) == ("a", "v1")
    assert resource.resource.SerializeToString() == body
    acknowledged = DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=response.nonce)
    assert answer(acknowledged.SerializeToString()) == []
    [empty] = answer(DeltaDiscoveryRequest(type_url=LISTENER).SerializeToString())
    assert not DeltaDiscoveryResponse.FromString(empty).resources
