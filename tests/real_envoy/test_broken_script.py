"""What Envoy does with a request whose script fails: it lets it go on, and our routes refuse it."""

import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from igw_cli.envoy import envoy_argv, envoy_command
from igw_xds.bootstrap import static_bootstrap
from igw_xds.resources.body import BODY
from igw_xds.settings import DataPlane, HostPort

from tests.builders import deployment, gateway, gateway_id, served, static
from tests.ports import free_ports
from tests.real_envoy.running import eventually
from tests.real_envoy.stand_in import Reply, StandIn

BROKEN = {
    "before the body": "function envoy_on_request(handle) error('broken') end",
    "behind the body": "function envoy_on_request(handle) handle:body() handle:nothing() end",
    "no script at all": "",
}


def _filters(bootstrap: Any) -> Any:
    listener = bootstrap["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]


def _with_script(bootstrap: Any, script: str) -> Any:
    for each in _filters(bootstrap):
        if each["name"] == BODY:
            each["typed_config"]["default_source_code"]["inline_string"] = script
    return bootstrap


@contextlib.asynccontextmanager
async def envoy(folder: Path, script: str) -> AsyncIterator[int]:
    """Run an Envoy with a body gateway and this script; whoever asks is let in."""
    ingress, admin, extauth, log, model = free_ports(5)
    data_plane = DataPlane(
        listen=HostPort("127.0.0.1", ingress),
        extauth=HostPort("127.0.0.1", extauth),
        extauth_log=HostPort("127.0.0.1", log),
        extproc=HostPort("127.0.0.1", extauth),  # nobody is asked there
    )
    snapshot = served(gateway(1), deployment(staticBackend=static(model)), data_plane=data_plane)
    file = folder / "envoy.json"
    bootstrap = static_bootstrap(snapshot, HostPort("127.0.0.1", admin))
    file.write_text(json.dumps(_with_script(bootstrap, script)))
    async with StandIn(lambda _: Reply(200, {"x-igw-principal": "ada"})).serving(extauth):
        with (folder / "log").open("wb") as out:
            process = subprocess.Popen(  # noqa: ASYNC220 - it takes a moment
                envoy_argv(envoy_command(), file, "info", 1), stdout=out, stderr=out
            )
        try:
            eventually(lambda: _ready(admin), 30)
            yield ingress
        finally:
            process.terminate()  # which lets it write the end of its log
            process.wait()


def _ready(admin: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{admin}/ready").status_code == 200
    return False


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
async def test_a_request_whose_model_was_not_read_goes_nowhere(tmp_path: Path, script: str) -> None:
    """It names no model, not even one that the client made up, and no route takes it."""
    async with envoy(tmp_path, script) as port, httpx.AsyncClient() as client:
        headers = {"host": f"api.{gateway_id(1)}.gw.example.com", "x-igw-model": "demo/small"}
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        answer = await client.post(url, json={"model": "demo/small"}, headers=headers)
        assert answer.status_code == 404, answer.text
        assert answer.json()["error"]["code"] == "bad_request"
    log = (tmp_path / "log").read_text()
    assert ("script log" in log) == bool(script)
    assert '"details":"cluster_not_found"' in log.replace('": "', '":"')
