"""A real `igw up` for tests: started on free ports, asked as a client would, ended with nothing left behind."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from igw_cli.run import READY_SECONDS
from igw_demo import bundle

from tests.ports import free_ports

START_SECONDS = READY_SECONDS + 15
"""It says by itself what does not get ready."""
REPLICAS = ("small-a", "small-b", "small-c")
PORTS = (
    "",
    "https",
    "admin",
    "xds",
    "xds-ops",
    "extauth",
    "extauth-grpc",
    "extauth-ops",
    "extproc",
    "extproc-ops",
    "collector",
    "collector-ops",
    "api",
    "api-grpc",
    "demo",
)
Body = dict[str, Any]


AS_FORM = {"Content-Type": "multipart/form-data; boundary=b"}
TRANSCRIPTIONS = "/v1/audio/transcriptions"


def form(model: str = "demo/small", field: str = "model") -> bytes:
    """Give a form that asks for a transcription; `AS_FORM` is its type."""
    parts = (f'name="{field}"\r\n\r\n{model}', 'name="file"; filename="a.wav"\r\n\r\nsound')
    return (
        "".join(f"--b\r\nContent-Disposition: form-data; {part}\r\n" for part in parts).encode()
        + b"--b--\r\n"
    )


@dataclass
class Running:
    """A gateway that serves: its ready file, its folder, its process."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def ready(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "ready.json").read_text())
        return document

    @property
    def port(self) -> int:
        return urlsplit(self.ready["ingress"]).port or 0

    @property
    def pids(self) -> dict[str, int]:
        pids: dict[str, int] = self.ready["pids"]
        return pids

    @property
    def token(self) -> str:
        token: str = self.ready["tokens"]["coreweave"]
        return token

    @property
    def definitions(self) -> Path:
        """The demo's definitions; an edit is picked up."""
        return self.folder / "state" / "demo.yaml"

    def host(self, name: str) -> str:
        return next(str(gateway["host"]) for gateway in self.ready["gateways"] if gateway["name"] == name)

    def output(self) -> str:
        return (self.folder / "stdout").read_text()

    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def others(self, kind: str) -> str:
        """Give a token of another organisation."""
        others = json.loads((self.folder / "state" / "demo-tokens.json").read_text())["others"]
        return next(str(other[kind]["token"]) for other in others if kind in other)

    def headers(self, gateway: str, token: str | None = None, **more: str) -> dict[str, str]:
        token = self.token if token is None else token
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        return {"Host": self.host(gateway), **authorization, **more}

    def post(
        self, gateway: str, body: Any, path: str = "/v1/chat/completions", **options: Any
    ) -> httpx.Response:
        token, more = options.pop("token", None), options.pop("headers", {})
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = self.headers(gateway, token, **{"Content-Type": "application/json", **more})
        return httpx.post(
            f"{self.ready['ingress']}{path}", content=content, headers=headers, timeout=30, **options
        )

    def get(self, gateway: str, path: str, token: str | None = None) -> httpx.Response:
        return httpx.get(f"{self.ready['ingress']}{path}", headers=self.headers(gateway, token), timeout=30)

    def option(self, child: str, name: str) -> str:
        """Give an option that a child process was started with."""
        command = Path(f"/proc/{self.pids[child]}/cmdline").read_text().split("\0")
        return command[command.index(name) + 1]

    def replica_port(self, name: str) -> int:
        """Give a demo model server's port."""
        return int(self.option(name, "--port"))

    def seen(self) -> dict[str, dict[str, Any]]:
        """Give what each of the demo's model servers has seen."""
        return {
            name: httpx.get(f"http://127.0.0.1:{self.replica_port(name)}/demo/seen").json()
            for name in REPLICAS
        }

    def slow_authority(self, seconds: float) -> None:
        """Let the demo's identity authority take so long for every answer from now on."""
        authority = f"http://127.0.0.1:{self.option('authority', '--port')}"
        httpx.post(f"{authority}/demo/fault", json={"delay_ms": round(1000 * seconds)}).raise_for_status()

    def looked_up(self) -> dict[str, int]:
        """Give how often the demo's identity authority was asked, by interface."""
        calls: dict[str, int] = httpx.get(
            f"http://127.0.0.1:{self.option('authority', '--port')}/demo/calls"
        ).json()
        return {name: calls[name] for name in ("whoami", "graphql")}

    def edit(self, change: Callable[[str], str]) -> None:
        """Change the demo's definitions as an editor does: a new file renamed over the old."""
        draft = self.definitions.with_suffix(".new")
        draft.write_text(change(self.definitions.read_text()))
        draft.replace(self.definitions)

    def stop(self) -> float:
        """Interrupt it as Ctrl-C does; give the seconds that it took to end."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=15)
        return time.monotonic() - began


def resident(pid: int) -> int:
    """Give the bytes that a process has in memory (proc(5), statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def allocated(gateway: Running) -> int:
    """Give the bytes that Envoy uses; its allocator keeps more, for what comes next."""
    return int(httpx.get(f"{gateway.ready['envoyAdmin']}/memory").json()["allocated"])


def chat(model: str = "demo/small", text: str = "hello", **more: Any) -> Body:
    """Give a chat completion request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def eventually(condition: Callable[[], bool], seconds: float = 15, pause: float = 0.05) -> None:
    """Wait until a condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(pause)


def any_ports() -> list[str]:
    """Give options of `igw up` for ports that are free; the demo's models have those after the last."""
    found = free_ports(len(PORTS) + len(bundle.REPLICAS))
    named = zip(PORTS, found, strict=False)
    return [part for name, port in named for part in (f"--{name}-port" if name else "--port", str(port))]


@contextlib.contextmanager
def igw_up(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run `igw up` with free ports until the context ends."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "igw_cli", "up", *any_ports(), *arguments]
    command += ["--state-dir", str(folder / "state"), "--ready-file", str(folder / "ready.json")]
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as log:
        environment = {**os.environ, **(environment or {}), "COLUMNS": "200"}
        process = subprocess.Popen(command, stdout=out, stderr=log, text=True, env=environment)
        running = Running(process, folder)
        try:
            eventually(lambda: (folder / "ready.json").exists() or process.poll() is not None, START_SECONDS)
            assert process.poll() is None, running.log()
            yield running
        finally:
            if process.poll() is None:
                running.stop()
