"""Envoys started by `igw envoy`, each with a control plane of its own that gives it a port for clients of its own."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_ports
from tests.real_envoy.running import Running, eventually


@dataclass
class ControlPlane:
    """One `igw xds` for a launched Envoy; `start` may be called again once it was killed."""

    folder: Path
    definitions: Path
    options: dict[str, str]
    ops: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, **options: str) -> None:
        """Start it, some options with another value."""
        values = [
            part for name, value in {**self.options, **options}.items() for part in (f"--{name}", value)
        ]
        command = [sys.executable, "-m", "igw_cli", "xds", "--no-api", "-f", str(self.definitions), *values]
        with (self.folder / "xds").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def sent(self) -> dict[str, int]:
        """Give how many resources it sent since it was started, by type, but for types of which it sent none."""
        text = httpx.get(f"http://127.0.0.1:{self.ops}/metrics").text
        found = re.findall(r'igw_xds_resources_total\{type="([a-z]+)"\} (\S+)', text)
        return {kind: round(float(count)) for kind, count in found if float(count)}

    def status(self) -> dict[str, Any]:
        """Give what it says of the one Envoy; nothing while it has none, or is not there."""
        with contextlib.suppress(httpx.HTTPError):
            proxies = httpx.get(f"http://127.0.0.1:{self.ops}/status").json()["proxies"]
            return dict(proxies[0]) if proxies else {}
        return {}


@dataclass
class Launched:
    """One `igw envoy`: where it serves, and its process; `start` may be called again once it has ended."""

    folder: Path
    control_plane: ControlPlane
    xds: int
    port: int
    admin: int
    stats: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, wait: bool = True, environment: Mapping[str, str] | None = None) -> None:
        """Start it, and wait until it is ready."""
        command = [sys.executable, "-m", "igw_cli", "envoy", "--xds", f"localhost:{self.xds}"]
        command += ["--admin-port", str(self.admin), "--stats-port", str(self.stats), "--concurrency", "2"]
        command += ["--node-id", self.folder.name, "--state-dir", str(self.folder / "state"), *options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self.folder), **(environment or {})},
            )
        if wait:
            eventually(lambda: self.running().poll() is not None or self.ready() == 200, 60)
            assert self.running().poll() is None, self.log()

    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    def ready(self) -> int | None:
        """Give the status of ``GET /ready``; None when it is refused."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.stats}/ready").status_code
        return None

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def signal(self, signum: signal.Signals = signal.SIGTERM) -> None:
        self.running().send_signal(signum)

    def ended(self, seconds: float = 40) -> float:
        """Wait for its end; give the seconds that took."""
        began = time.monotonic()
        self.running().wait(seconds)
        return time.monotonic() - began

    def pid(self) -> int:
        """Give the process id of the Envoy itself."""
        pid = self.running().pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)


def gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@contextlib.contextmanager
def launched(gateway: Running, folder: Path) -> Iterator[Launched]:
    """Run a control plane with the demo's definitions, a copy, and services; the Envoy is to be started."""
    folder.mkdir(parents=True)
    xds, ops, port, admin, stats = free_ports(5)
    definitions = folder / "definitions.yaml"
    definitions.write_bytes(gateway.definitions.read_bytes())
    options = {"port": str(xds), "ops-port": str(ops), "listen": f"127.0.0.1:{port}"}
    options |= {service: gateway.option("xds", f"--{service}") for service in ("extauth", "extproc")}
    control_plane = ControlPlane(folder, definitions, options, ops)
    control_plane.start()
    envoy = Launched(folder, control_plane, xds, port, admin, stats)
    try:
        yield envoy
    finally:
        control_plane.kill()
        if envoy.process is not None:
            envoy.process.kill()
            envoy.process.wait()
