"""A fleet for tests: one `igw xds` that may be restarted on its ports, and Envoys of zones on ports of their own.

What requests need besides, extauth, extproc, model servers and tokens, is the shared demo's.
"""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import yaml
from igw_cli.envoy import envoy_argv, envoy_command
from igw_demo.tokens import ORGANIZATION
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.settings import HostPort

from tests.ports import free_ports
from tests.real_envoy.counting import LOOPBACK, Way
from tests.real_envoy.running import REPLICAS, Running, chat, eventually

Document = dict[str, Any]
MODEL = "demo/small"
CANARY_SECONDS = 2.0
"""Short for tests that wait for it to pass, and long enough for an Envoy on a busy machine to answer in time."""
ROUTINGS: Mapping[str, Document] = {
    "body": {"bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"}},
    "header": {"headerBasedRouting": {"headerName": "X-Model-Name"}},
    "path": {"pathBasedRouting": {}},
}


@dataclass
class Plane:
    """One `igw xds` with its store in a folder; `start` again after `stop` has the same ports."""

    folder: Path
    options: Sequence[str]
    xds: int
    ops: int
    api: int
    replicas: Sequence[int]
    http: httpx.Client
    process: subprocess.Popen[bytes] | None = None

    @property
    def definitions(self) -> Path:
        """The folder of definition files that it follows."""
        return self.folder / "definitions"

    def start(self) -> None:
        """Start it, and wait until it has definitions to serve."""
        with (self.folder / "xds").open("ab") as log:
            command = [sys.executable, "-m", "igw_cli", "xds", *self.options]
            self.process = process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        eventually(lambda: process.poll() is not None or self._is_ready(), 30)
        assert process.poll() is None, self.log()

    def stop(self) -> None:
        """End it as an operator does."""
        assert self.process is not None
        self._signal(signal.SIGTERM)
        assert self.process.wait(15) == 0, self.log()

    def work(self, seconds: float) -> bool:
        """Let it work for a moment alone; it is frozen then. False, for it is no condition."""
        self.thaw()
        time.sleep(seconds)
        self._signal(signal.SIGSTOP)
        return False

    def thaw(self) -> None:
        """Let it work again."""
        self._signal(signal.SIGCONT)

    def _signal(self, signum: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(signum)

    def log(self) -> str:
        return (self.folder / "xds").read_text()

    def call(self, method: str, path: str, document: Document | None = None) -> httpx.Response:
        """Call the management API as the local admin."""
        token = (self.folder / "admin-token").read_text().strip()
        url = f"http://{LOOPBACK}:{self.api}/v1alpha1/inference/{path}"
        headers = {"Authorization": f"Bearer {token}"}
        return self.http.request(method, url, json=document, headers=headers)

    def put(self, kind: str, spec: Document) -> Document:
        """Create an object, or update it if the spec has an id already; give the spec with its id."""
        method, path = ("PATCH", f"{kind}s/{spec['id']}") if "id" in spec else ("POST", f"{kind}s")
        answer = self.call(method, path, spec)
        assert answer.status_code == 200, answer.text
        return {**spec, "id": answer.json()[kind]["spec"]["id"]}

    def said(self, kind: str, spec: Document) -> tuple[str, str]:
        """Give an object's status, and the messages of its conditions."""
        found = self.call("GET", f"{kind}s/{spec['id']}").json()[kind]["status"]
        messages = " ".join(condition["message"] for condition in found["conditions"])
        return found["status"].removeprefix("STATUS_"), messages

    def status(self) -> Document:
        """Give what it says of itself; nothing while it is not there."""
        with contextlib.suppress(httpx.HTTPError):
            return dict(self.http.get(f"http://{LOOPBACK}:{self.ops}/status").json())
        return {"proxies": [], "zones": []}

    def zone(self, name: str) -> Document:
        """Give what it says of a zone."""
        zones = self.status()["zones"]
        return next((dict(zone) for zone in zones if zone["zone"].lower() == name.lower()), {})

    def proxy(self, name: str) -> Document:
        """Give what it says of a proxy."""
        return next((dict(proxy) for proxy in self.status()["proxies"] if proxy["id"] == name), {})

    def sent(self) -> Counter[str]:
        """Give how many resources it has sent since it was started, by type."""
        text = self.http.get(f"http://{LOOPBACK}:{self.ops}/metrics").text
        found = re.findall(r'igw_xds_resources_total\{type="([a-z]+)"\} (\S+)', text)
        return +Counter({kind: round(float(count)) for kind, count in found})

    def canary_timeouts(self) -> int:
        text = self.http.get(f"http://{LOOPBACK}:{self.ops}/metrics").text
        [count] = re.findall(r"(?m)^igw_xds_canary_timeouts_total (\S+)", text)
        return round(float(count))

    def define(self, name: str, gateways: Sequence[Document], deployments: Sequence[Document] = ()) -> None:
        """Write a definition file, whole at once."""
        draft = self.folder / name
        objects = [("Gateway", spec) for spec in gateways] + [("Deployment", spec) for spec in deployments]
        draft.write_text(yaml.safe_dump_all([{"kind": kind, "spec": spec} for kind, spec in objects]))
        draft.replace(self.definitions / name)

    def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get(f"http://{LOOPBACK}:{self.ops}/readyz").status_code == 200
        return False


@contextlib.contextmanager
def control_plane(gateway: Running, folder: Path) -> Iterator[Plane]:
    """Run a control plane that gives each Envoy its zone's gateways, and a port for clients of its own."""
    xds, ops, api, grpc = free_ports(4)
    options = ["--port", xds, "--ops-port", ops, "--api-port", api, "--api-grpc-port", grpc]
    options += ["--listen", f"{LOOPBACK}:0", "--no-access-log", "--canary-seconds", CANARY_SECONDS]
    options += ["-f", folder / "definitions", "--state-dir", folder / "state"]
    options += ["--admin-token-file", folder / "admin-token", "--admin-organization-id", ORGANIZATION]
    options += ["--backend-network", "127.0.0.0/8", "--parameters-file", folder / "parameters.yaml"]
    for service in ("extauth", "extproc"):
        options += [f"--{service}", gateway.option("xds", f"--{service}")]
    (folder / "definitions").mkdir()
    (folder / "parameters.yaml").write_text(yaml.safe_dump({"zones": OFFERED}))
    replicas = [gateway.replica_port(name) for name in REPLICAS]
    with httpx.Client(timeout=10) as client:
        plane = Plane(folder, [str(option) for option in options], xds, ops, api, replicas, client)
        plane.define("first.yaml", [file_gateway(0, "FIRST")])  # a folder without any is an error
        try:
            plane.start()
            yield plane
        finally:
            if plane.process is not None:
                plane.process.kill()
                plane.process.wait()


OFFERED = ["EAST", "WEST", "POISONED", "BUSY", "MOVED", "RESTARTED", "LOADED", "STUCK-CANARY", "STUCK-OTHER"]
"""The zones that the API offers: one a test, for what lingers of one test is not to be counted in another."""


def file_gateway(number: int, zone: str, **fields: Any) -> Document:
    """Give body gateway `number` as it stands in a definition file, where any zone may be named."""
    spec = {"id": f"0f000000-0000-4000-8000-{number:012d}", "name": f"filed-{number}", "zones": [zone]}
    return {**spec, "organizationId": ORGANIZATION, "coreWeaveAuth": {}, **ROUTINGS["body"], **fields}


def file_deployment(number: int, gateways: Sequence[Document], port: int, **fields: Any) -> Document:
    """Give deployment `number` of those gateways as it stands in a definition file."""
    spec: Document = {"id": f"0d000000-0000-4000-8000-{number:012d}", "name": f"filed-{number}"}
    spec |= {"organizationId": ORGANIZATION, "gatewayIds": [gateway["id"] for gateway in gateways]}
    return {**spec, "model": {"name": MODEL}, "staticBackend": backend(port), **fields}


@dataclass
class Proxy:
    """One Envoy of a zone, with one worker and without a launcher."""

    id: str
    zone: str
    folder: Path
    http: httpx.Client
    process: subprocess.Popen[bytes]

    @property
    def admin(self) -> str:
        """The URL of its admin interface."""
        return f"http://{(self.folder / 'admin').read_text().strip()}"

    def port(self) -> int:
        """Give the port that it serves clients on; 0 while it serves none."""
        listeners = self.http.get(f"{self.admin}/listeners?format=json").json().get("listener_statuses", [])
        ports = [one["local_address"]["socket_address"]["port_value"] for one in listeners]
        return int(ports[0]) if ports else 0

    def ready(self) -> int | None:
        """Give the status of ``GET /ready``; None before there is any."""
        with contextlib.suppress(httpx.HTTPError, OSError):
            return self.http.get(f"{self.admin}/ready").status_code
        return None

    def stats(self, pattern: str) -> dict[str, int]:
        """Give those of its statistics whose names match."""
        answer = self.http.get(f"{self.admin}/stats", params={"filter": pattern, "format": "json"}).json()
        return {one["name"]: one["value"] for one in answer["stats"] if "name" in one}

    def dump(self) -> str:
        """Give all that it was configured with, and its endpoints."""
        return self.http.get(f"{self.admin}/config_dump?include_eds").text

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def envoys(
    plane: Plane, zone: str, *names: str, strict: bool = False, wait: bool = True
) -> Iterator[list[Proxy]]:
    """Run Envoys of a zone, in step and connected in this order; strict ones have Envoy's own limits."""
    started: list[Proxy] = []
    try:
        for name in names:
            started.append(_envoy(plane, zone, f"{zone.lower()}-{name}", strict=strict))
            if wait:
                eventually(lambda: plane.proxy(started[-1].id).get("synced", False), 20)
        yield started
    finally:
        for proxy in started:
            proxy.process.kill()
            proxy.process.wait()


def _envoy(plane: Plane, zone: str, name: str, *, strict: bool) -> Proxy:
    folder = plane.folder / name
    folder.mkdir()
    document = bootstrap(Node(name, zone, HostPort(LOOPBACK, 0), HostPort(LOOPBACK, plane.xds)))
    if strict:
        document["layered_runtime"]["layers"] = []
    (folder / "bootstrap.json").write_text(json.dumps(document))
    command = envoy_argv(envoy_command(), folder / "bootstrap.json", "info", 1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--admin-address-path", str(folder / "admin")], stdout=log, stderr=subprocess.STDOUT
        )
    return Proxy(name, zone, folder, plane.http, process)


@dataclass
class Zone:
    """What a test makes in a zone through the API, and how its clients ask for it."""

    plane: Plane
    name: str
    token: str

    def gateway(self, name: str, routing: str = "body", **fields: Any) -> Document:
        """Make a gateway."""
        spec = {
            "name": self._named(name),
            "zones": [self.name],
            "coreWeaveAuth": {},
            **ROUTINGS[routing],
            **fields,
        }
        return self.plane.put("gateway", spec)

    def deployment(
        self, name: str, *gateways: Document, model: str = MODEL, replica: int = 0, **fields: Any
    ) -> Document:
        """Make a deployment on one of the demo's model servers."""
        spec = {
            "name": self._named(name),
            "gatewayIds": [gateway["id"] for gateway in gateways],
            "model": {"name": model},
            "traffic": {"weight": 1},
            "staticBackend": backend(self.plane.replicas[replica]),
            **fields,
        }
        return self.plane.put("deployment", spec)

    def _named(self, name: str) -> str:
        return f"{self.name.lower()}-{name}"  # names are unique over all zones

    def way(self, gateway: Document, model: str = MODEL) -> Way:
        """Give how to ask a gateway for a model, however it finds the model."""
        headers = {"Host": host(gateway), "Authorization": f"Bearer {self.token}"}
        headers |= {"Content-Type": "application/json"}
        path = "/v1/chat/completions"
        if "headerBasedRouting" in gateway:
            headers["X-Model-Name"] = model
        if "pathBasedRouting" in gateway:
            path = f"/{quote(model, safe='')}{path}"
        return Way(path, headers, json.dumps(chat(model)).encode())

    def in_step(self, *proxies: Proxy) -> bool:
        """Say whether these are all that there are, and have all that they are to have."""
        found = {
            proxy["id"]: proxy["synced"]
            for proxy in self.plane.status()["proxies"]
            if proxy["zone"].lower() == self.name.lower()
        }
        return found == {proxy.id: True for proxy in proxies} and not self.plane.zone(self.name)["staged"]


def host(gateway: Document) -> str:
    """Give a gateway's own name."""
    return f"api.{gateway['id']}.gw.localhost"


def backend(*ports: int) -> Document:
    """Give a backend of replicas on these ports."""
    return {"endpoints": [{"address": LOOPBACK, "port": port} for port in ports]}
