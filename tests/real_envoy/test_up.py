"""`igw up` as a program: what it tells, and that it ends with everything it started."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.real_envoy.running import Running, eventually, igw_up


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_ready_file(gateway: Running) -> None:
    """Programs read there what is served and by which processes; it holds tokens, so it is its owner's."""
    ready = gateway.ready
    assert {
        "ingress",
        "envoyAdmin",
        "api",
        "adminTokenFile",
        "organization",
        "gateways",
        "tokens",
        "pids",
    } <= set(ready)
    assert ready["adminTokenFile"] == str(gateway.folder / "state" / "admin-token")
    assert ready["organization"] == "demo-org"
    assert [(g["name"], g["routing"]) for g in ready["gateways"]] == [
        ("chat", "body"),
        ("by-header", "header"),
        ("by-path", "path"),
        ("wandb-chat", "body"),
    ]
    assert all(g["host"] == f"api.{g['id']}.gw.localhost" for g in ready["gateways"])
    assert set(ready["tokens"]) == {"coreweave", "wandb"}
    assert {"xds", "extauth", "extproc", "envoy"} <= set(ready["pids"])
    assert all(alive(pid) for pid in ready["pids"].values())
    private = ("demo-tokens.json", "admin-token", "store.key", "gateway.db")
    for name in ("ready.json", *(f"state/{name}" for name in private)):
        assert stat.S_IMODE((gateway.folder / name).stat().st_mode) == 0o600


def test_ctrl_c_ends_everything_within_five_seconds(tmp_path: Path) -> None:
    """Nothing is left behind: no process, no ready file; the exit status is 0."""
    with igw_up(tmp_path, "--demo") as running:
        pids = running.pids
        assert running.stop() < 5
        assert running.process.returncode == 0
        assert not [name for name, pid in pids.items() if alive(pid)]
        assert not (tmp_path / "ready.json").exists()


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    """Even SIGKILL, which it cannot answer, leaves no child."""
    with igw_up(tmp_path, "--demo") as running:
        pids = running.pids
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        eventually(lambda: not [name for name, pid in pids.items() if alive(pid)], seconds=10)


def test_a_child_that_dies_is_started_again(own_gateway: Running) -> None:
    """It is said, the ready file has the new process id, and the gateway is whole again."""
    pid = own_gateway.pids["envoy"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: own_gateway.pids["envoy"] != pid)
    assert "ended (SIGKILL); starting it again" in own_gateway.log()
    eventually(lambda: _answers(own_gateway), seconds=20)


def test_the_printed_lines_that_manage_it_work(gateway: Running, tmp_path: Path) -> None:
    """They list the gateways, from any folder, in a shell."""
    lines = [line.strip() for line in gateway.output().splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines[-2:]] == ["curl", "igw"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for line in lines[-2:]:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "wandb-chat" in done.stdout


def _answers(gateway: Running) -> bool:
    try:
        return gateway.get("chat", "/v1/models").status_code == 200
    except httpx.HTTPError:
        time.sleep(0.1)
        return False


def test_no_token_is_in_logs_or_in_envoys_configuration(gateway: Running) -> None:
    """Tokens are printed for the demo's user and written to their 0600 files, and are nowhere else."""
    gateway.get("chat", "/v1/models")
    dump = httpx.get(f"{gateway.ready['envoyAdmin']}/config_dump?include_eds").text
    tokens = [*gateway.ready["tokens"].values(), gateway.others("coreweave"), gateway.others("wandb")]
    tokens.append(Path(gateway.ready["adminTokenFile"]).read_text().strip())
    assert tokens[-1] not in gateway.output()
    for text in (gateway.log(), dump, json.dumps([p.name for p in gateway.folder.rglob("*")])):
        assert not [token for token in tokens if token in text]
