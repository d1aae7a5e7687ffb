"""Parts of the gateway die and come back: closed while they are gone, normal afterwards, nothing sent twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from igw_demo.tokens import CoreWeaveToken, DemoTokens, WandbToken

from tests.ports import free_port
from tests.real_envoy.running import AS_FORM, TRANSCRIPTIONS, Running, chat, eventually, form, igw_up


def ask(gateway: Running, service: str) -> httpx.Response:
    """Send what needs a service: forms need extproc, all requests extauth."""
    if service == "extauth":
        return gateway.post("chat", chat())
    return gateway.post("chat", form(), TRANSCRIPTIONS, headers=AS_FORM)


def freeze(pid: int) -> None:
    """Stop a process without ending it: the supervisor has nothing to start again."""
    os.kill(pid, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("service", "code"), [("extauth", "auth_unavailable"), ("extproc", "routing_unavailable")]
)
def test_a_killed_service_is_503_until_it_is_back(module_gateway: Running, service: str, code: str) -> None:
    """No request passes without the service; the refusal is an OpenAI error that says to try again."""
    assert ask(module_gateway, service).status_code == 200
    ops = _ops_port(module_gateway, service)
    # It comes back in 0.2 s, so the kill is repeated while the refusals are looked at.
    seen: list[httpx.Response] = []
    for _ in range(20):
        os.kill(module_gateway.pids[service], signal.SIGKILL)
        seen.append(ask(module_gateway, service))
        if seen[-1].status_code == 503:
            break
        eventually(lambda: _is_ready(ops))
    answer = seen[-1]
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, code)
    assert answer.headers["retry-after"] == "1"
    eventually(lambda: ask(module_gateway, service).status_code == 200)
    assert re.search(rf"{service} +ended \(SIGKILL\); starting it again", module_gateway.log())


def _is_ready(ops: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{ops}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _ops_port(gateway: Running, service: str) -> int:
    return int(gateway.option(service, "--ops-port"))


def test_envoy_serves_without_the_control_plane(module_gateway: Running) -> None:
    """A killed control plane stops nothing; restarted, it sends nothing that did not change."""
    ops = _ops_port(module_gateway, "xds")
    assert _sent(ops) > 10
    pid = module_gateway.pids["xds"]
    freeze(pid)
    assert module_gateway.post("chat", chat()).status_code == 200
    os.kill(pid, signal.SIGKILL)
    for _ in range(20):
        assert module_gateway.post("chat", chat()).status_code == 200
    eventually(lambda: module_gateway.pids["xds"] != pid)
    eventually(lambda: _synced(ops), seconds=30)
    assert _sent(ops) == 0
    module_gateway.edit(lambda text: text.replace("    weight: 900\n", "    weight: 899\n", 1))
    eventually(lambda: _sent(ops) > 0 and _synced(ops))
    assert _sent(ops, "rds") == 4  # the four gateways that have the split, and nothing else
    assert _sent(ops) == 4


def _synced(ops: int) -> bool:
    try:
        status = httpx.get(f"http://127.0.0.1:{ops}/status").json()
    except httpx.HTTPError:
        return False
    return [proxy["synced"] for proxy in status["proxies"]] == [True]


def _sent(ops: int, kind: str = "[a-z]+") -> int:
    metrics = httpx.get(f"http://127.0.0.1:{ops}/metrics").text
    return sum(int(float(n)) for n in re.findall(rf'igw_xds_resources_total{{type="{kind}"}} (\S+)', metrics))


@contextmanager
def authority(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run an identity authority that the test may stop, on a port of its own."""
    own = CoreWeaveToken("CW-SECRET-own", "ann", "org-1")
    fresh = CoreWeaveToken("CW-SECRET-fresh", "bob", "org-1")
    DemoTokens(own, WandbToken("w" * 40, "ann", "org-1", ("org-1",)), (fresh,)).save(folder / "tokens.json")
    port = free_port()
    command = [sys.executable, "-m", "igw_cli", "demo", "authority", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--tokens-file", str(folder / "tokens.json")], stdout=subprocess.DEVNULL
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_without_the_authority_only_known_tokens_pass(tmp_path: Path) -> None:
    """The authority is gone: 503 for a token that was never seen, and a cached one still passes."""
    gateway = {
        "name": "g",
        "zones": ["L"],
        "coreWeaveAuth": {},
        "headerBasedRouting": {"headerName": "x-model"},
    }
    (tmp_path / "g.json").write_text(json.dumps({"kind": "Gateway", "spec": gateway}))
    with authority(tmp_path) as (process, url):
        environment = {
            "IGW_COREWEAVE_WHOAMI_URL": f"{url}/v1beta1/auth/whoami",
            "IGW_ORGANIZATION_ID": "org-1",
        }
        with igw_up(tmp_path / "up", "-f", str(tmp_path / "g.json"), environment=environment) as running:
            eventually(lambda: running.get("g", "/v1/models", token="CW-SECRET-own").status_code == 200)
            process.kill()
            process.wait()
            assert running.get("g", "/v1/models", token="CW-SECRET-own").status_code == 200
            answer = running.get("g", "/v1/models", token="CW-SECRET-fresh")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "auth_unavailable")
            assert "CW-SECRET" not in running.log() + running.output()


def test_a_frozen_authority_is_503_in_time(module_gateway: Running) -> None:
    """An authority that takes the connection and says nothing is waited for, but not for ever."""
    freeze(module_gateway.pids["authority"])
    try:
        answer = module_gateway.get("chat", "/v1/models", token="CW-SECRET-not-seen-before")
    finally:
        os.kill(module_gateway.pids["authority"], signal.SIGCONT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "auth_unavailable")


@pytest.mark.parametrize("service", ["extauth", "extproc"])
def test_a_lone_instance_that_froze_is_waited_for(module_gateway: Running, service: str) -> None:
    """Envoy knows that it is unhealthy and has no other: what comes meanwhile is late, not refused."""
    assert ask(module_gateway, service).status_code == 200
    pid = module_gateway.pids[service]
    freeze(pid)
    with ThreadPoolExecutor() as clients:
        try:
            eventually(lambda: _envoy_says(module_gateway, f"cluster.igw-{service}.membership_healthy") == 0)
            waiting = [clients.submit(ask, module_gateway, service) for _ in range(5)]
            time.sleep(0.5)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert [answer.result().status_code for answer in waiting] == [200] * 5


def _envoy_says(gateway: Running, name: str) -> int:
    """Give one of Envoy's statistics."""
    text = httpx.get(f"{gateway.ready['envoyAdmin']}/stats", params={"filter": f"^{re.escape(name)}$"}).text
    return int(text.split()[-1])


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_slow_authority_is_waited_for(tmp_path: Path, transport: str) -> None:
    """Longer than health checks and pings take to fail: its own answer is given, and nobody is asked twice."""
    with igw_up(tmp_path / "up", "--demo", "--auth-transport", transport) as running:
        before = running.looked_up()
        running.slow_authority(3.5)
        began = time.monotonic()
        answer = running.get("chat", "/v1/models", token=running.others("coreweave"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "organization_mismatch")
        assert time.monotonic() - began > 3.5
        assert running.looked_up() == {**before, "whoami": before["whoami"] + 1}
        assert _envoy_says(running, "cluster.igw-extauth.upstream_rq_retry") == 0
