"""`igw xds --docker-host` as a process: containers of a deployment that a file defines, told to stop at any time."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import deployment_spec, gateway_spec, write
from tests.docker.forwarder import SOCKET
from tests.docker.scene import Scene

PORTS = ("--port=0", "--ops-port=0", "--no-api")


@contextlib.contextmanager
def control_plane(definitions: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run one; what it logs is on `stdout`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("IGW_")}
    argv = [sys.executable, "-m", "igw_cli", "xds", *PORTS, "-f", str(definitions), *options]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def logged(process: subprocess.Popen[str], text: str) -> dict[str, Any]:
    """Read the log up to a line with an event."""
    assert process.stdout is not None
    for line in process.stdout:
        entry: dict[str, Any] = json.loads(line)
        if text in entry["event"]:
            return entry
    pytest.fail(f"it ended without {text!r}")


@pytest.fixture
def definitions(scene: Scene, tmp_path: Path) -> Path:
    """Give a file with a gateway and the scene's deployment."""
    spec = deployment_spec(1, name=scene.name, dockerBackend={"port": 8000})
    return write(tmp_path / "definitions.yaml", gateway_spec(1), spec)


async def test_a_container_of_a_files_deployment(scene: Scene, definitions: Path) -> None:
    """It is found, and Ctrl-C ends the process at once: no call to the engine is waited for."""
    await scene.run("a")
    with control_plane(definitions, "--docker-host", f"unix://{SOCKET}") as process:
        found = logged(process, "container is a replica")
        assert found["container"] == f"{scene.name}-a"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert time.monotonic() - began < 4


async def test_an_engine_that_is_not_there(definitions: Path) -> None:
    """The control plane serves all the same, and says so."""
    with control_plane(definitions, "--docker-host", "tcp://127.0.0.1:1") as process:
        assert "Connection refused" in logged(process, "the Docker engine does not answer")["reason"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


async def test_nobody_looks(definitions: Path) -> None:
    """Without --docker-host a deployment with a dockerBackend is warned of."""
    with control_plane(definitions) as process:
        assert logged(process, "set --docker-host")["level"] == "warning"
