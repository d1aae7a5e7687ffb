"""Envoy on a host that forbids code made at run time, as systemd's MemoryDenyWriteExecute does."""

import ctypes
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.ports import free_ports
from tests.real_envoy.running import eventually

PR_SET_MDWE = 65
RUN = (
    "import ctypes, os, sys\n"
    f"assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) == 0\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)
REQUESTS = 2000
"""Lua's compiler begins after some hundred calls of a function."""


@pytest.mark.skipif(
    ctypes.CDLL(None).prctl(PR_SET_MDWE + 1, 0, 0, 0, 0) < 0, reason="Linux before 6.3 has no PR_SET_MDWE"
)
def test_host_names_in_capitals(tmp_path: Path) -> None:
    """The script that lowers a host name's case is interpreted: a stranger cannot end Envoy with it."""
    folder = Path(sys.executable).parent
    definitions = Path(__file__).parents[1] / "golden" / "header-routing" / "definitions.yaml"
    rendered = subprocess.run(
        [folder / "igw", "render", "-f", definitions], capture_output=True, text=True, check=True
    ).stdout
    configuration = tmp_path / "envoy.yaml"
    port, admin = free_ports(2)
    configuration.write_text(
        rendered.replace("port_value: 8080", f"port_value: {port}").replace("9901", str(admin))
    )
    command = [sys.executable, "-c", RUN, str(folder / "envoy")]
    command += ["-c", str(configuration), "--disable-hot-restart"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as envoy:
        try:
            with httpx.Client(headers={"Host": "API.Example.COM"}) as client:
                eventually(lambda: _answers(client, port), 30)
                for _ in range(REQUESTS):
                    assert client.get(f"http://127.0.0.1:{port}/v1/models").status_code == 404
            assert envoy.poll() is None
        finally:
            envoy.kill()


def _answers(client: httpx.Client, port: int) -> bool:
    try:
        return client.get(f"http://127.0.0.1:{port}/v1/models").status_code == 404
    except httpx.ConnectError:
        return False
