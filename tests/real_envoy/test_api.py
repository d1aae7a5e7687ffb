"""Gateways made through the management API, end to end: HTTP in, a real Envoy, the `openai` package's requests out."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import openai
import yaml

from tests.real_envoy.running import Running, eventually, igw_up

CLIENTS = 16
MODEL = "demo/small"
HOST = "mine.localhost"
GATEWAY = "aaaaaaaa-0000-4000-8000-000000000001"
ONE, TWO = "aaaaaaaa-0000-4000-8000-000000000011", "aaaaaaaa-0000-4000-8000-000000000012"
KEY = "hush-0123456789abcdef-hush-0123456789abcdef"


@dataclass
class Api:
    """The API of a running gateway, called as curl does."""

    gateway: Running

    def __call__(self, method: str, path: str, document: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}"}
        url = f"{self.gateway.ready['api']}/v1alpha1/inference/{path}"
        return httpx.request(method, url, json=document, headers=headers, timeout=30)

    @property
    def token(self) -> str:
        return Path(self.gateway.ready["adminTokenFile"]).read_text().strip()

    def status(self, path: str) -> str:
        """Give an object's status, or its absence."""
        answer = self("GET", path)
        if answer.status_code == 404:
            return "gone"
        return str(next(iter(answer.json().values()))["status"]["status"])

    def put(self, method: str, path: str, document: Any) -> None:
        """Write an object, and poll until it is ready."""
        answer = self(method, path, document)
        assert answer.status_code == 200, answer.text
        object_id = next(iter(answer.json().values()))["spec"]["id"]
        kind = path.split("/", maxsplit=1)[0]
        eventually(lambda: self.status(f"{kind}/{object_id}") == "STATUS_READY")


def gateway_document(**fields: Any) -> dict[str, Any]:
    return {
        "id": GATEWAY,
        "name": "mine",
        "zones": ["US-EAST-04A"],
        "coreWeaveAuth": {},
        "bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"},
        "endpointConfiguration": {"additionalDns": [HOST]},
        **fields,
    }


def deployment_document(up: Running, number: int, weight: int) -> dict[str, Any]:
    """Give a deployment in front of one of the demo's model servers: 1 is small-a, 2 is small-c."""
    port = up.replica_port("small-a" if number == 1 else "small-c")
    return {
        "id": ONE if number == 1 else TWO,
        "name": f"mine-{number}",
        "gatewayIds": [GATEWAY],
        "model": {"name": MODEL},
        "traffic": {"weight": weight},
        "staticBackend": {"endpoints": [{"address": "127.0.0.1", "port": port}]},
    }


def make(api: Api) -> None:
    """Make the gateway and its two deployments, 900 to 100."""
    api.put("POST", "gateways", gateway_document())
    for number, weight in ((1, 900), (2, 100)):
        api.put("POST", "deployments", deployment_document(api.gateway, number, weight))


def client(up: Running) -> openai.OpenAI:
    """Give a stock client of the new gateway; its name leads nowhere here, so it is in the Host header."""
    return openai.OpenAI(
        base_url=f"{up.ready['ingress']}/v1",
        api_key=up.token,
        max_retries=0,
        default_headers={"Host": f"{HOST}:{up.port}"},
    )


def replica(asking: openai.OpenAI) -> str:
    """Ask, and give the replica that answered."""
    answer = asking.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}]
    )
    return str(answer.headers["x-demo-replica"])


@dataclass
class Load:
    """Clients that ask one request after the other; which replica answered, and what failed."""

    up: Running
    replicas: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.replicas.total() >= CLIENTS)  # making a client takes its time
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def next(self, requests: int) -> Counter[str]:
        """Give which replicas answer so many requests, none of which is under way yet."""
        begun = self.replicas.total() + CLIENTS
        eventually(lambda: self.replicas.total() >= begun, 60)
        before = Counter(self.replicas)
        eventually(lambda: self.replicas.total() >= before.total() + requests, 60)
        return Counter(self.replicas) - before

    def since(self, seconds: float) -> Counter[str]:
        """Give how many requests each replica answers within so many seconds from now."""
        before = Counter(self.replicas)
        time.sleep(seconds)
        return Counter(self.replicas) - before

    def _ask(self) -> None:
        asking = client(self.up)
        while not self._stopped.is_set():
            try:
                self.replicas[replica(asking)] += 1
            except openai.OpenAIError as error:
                self.failures.append(repr(error))


def share(replicas: Counter[str], name: str) -> float:
    return replicas[name] / max(1, replicas.total())


def test_from_nothing_to_traffic_and_back(own_gateway: Running) -> None:
    """Create, poll to READY, ask, move the split by PATCH under load without a failure, delete in order."""
    api = Api(own_gateway)
    make(api)
    endpoints = api("GET", f"gateways/{GATEWAY}").json()["gateway"]["status"]["endpoints"]
    hosts = (f"api.{GATEWAY}.gw.localhost", HOST)
    assert endpoints == [f"http://{host}:{own_gateway.port}" for host in hosts]
    with Load(own_gateway) as load:
        assert abs(share(load.next(600), "small-a") - 0.9) < 0.05
        for one in (500, 0, 1000, 100):
            api.put("PATCH", f"deployments/{ONE}", deployment_document(own_gateway, 1, one))
            api.put("PATCH", f"deployments/{TWO}", deployment_document(own_gateway, 2, 1000 - one))
        assert abs(share(load.next(600), "small-a") - 0.1) < 0.05
    assert load.failures == []
    refused = api("DELETE", f"gateways/{GATEWAY}")
    assert (refused.status_code, refused.json()["code"], refused.json()["message"]) == (
        412,
        "failed_precondition",
        "gateway has associated deployments, cannot delete",
    )
    for path in (f"deployments/{ONE}", f"deployments/{TWO}", f"gateways/{GATEWAY}"):
        answer = api("DELETE", path)
        assert answer.status_code == 200, answer.text
        assert next(iter(answer.json().values()))["status"]["status"] == "STATUS_DELETING"
    eventually(lambda: api.status(f"gateways/{GATEWAY}") == "gone")
    gone = httpx.get(f"{own_gateway.ready['ingress']}/v1/models", headers={"Host": HOST})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "unknown_gateway")


def test_a_new_split_is_soon_on_the_wire(own_gateway: Running) -> None:
    """The answer to PATCH is followed by requests that go the new way, within a second at the very most."""
    api = Api(own_gateway)
    make(api)
    asking = client(own_gateway)
    api("PATCH", f"deployments/{ONE}", deployment_document(own_gateway, 1, 0))
    eventually(lambda: [replica(asking) for _ in range(5)] == ["small-c"] * 5, seconds=1, pause=0)


def test_a_key_is_nowhere(own_gateway: Running) -> None:
    """A W&B key is in no answer, log, event, description, Envoy's configuration, or in clear on disk."""
    api = Api(own_gateway)
    auth = {"apiKey": KEY, "serverUrl": "https://wandb.example.com"}
    document = {**gateway_document(), "weightsAndBiasesAuth": auth}
    del document["coreWeaveAuth"]
    api.put("POST", "gateways", document)
    api.put("PATCH", f"gateways/{GATEWAY}", {**document, "name": "renamed"})
    seen = [api("GET", path).text for path in ("gateways", f"gateways/{GATEWAY}", "events")]
    seen += [
        api("POST", "gateways", document).text,
        api("PATCH", f"gateways/{GATEWAY}", {**document, "nme": "x"}).text,
    ]
    seen += [igw(own_gateway, "describe", "gateway", "renamed"), igw(own_gateway, "events", "-o", "json")]
    seen += [httpx.get(f"{own_gateway.ready['envoyAdmin']}/config_dump?include_eds").text]
    seen += [own_gateway.log(), own_gateway.output()]
    assert "renamed" in seen[0]
    assert not [text for text in seen if KEY in text]
    files = [path for path in (own_gateway.folder / "state").iterdir() if path.is_file()]
    assert "gateway.db" in [path.name for path in files]
    assert not [path.name for path in files if KEY.encode() in path.read_bytes()]
    [count] = (
        sqlite3.connect(own_gateway.folder / "state" / "gateway.db")
        .execute("select count(*) from objects where api_key is not null")
        .fetchone()
    )
    assert count == 1


def test_files_and_api_beside_each_other(own_gateway: Running) -> None:
    """What files define is read-only in the API and may be built upon; a clash is an error that names both."""
    api = Api(own_gateway)
    chat = "c4a70000-0000-4000-8000-000000000001"
    assert [g["spec"]["name"] for g in api("GET", "gateways").json()["items"]] == [
        "chat",
        "by-header",
        "by-path",
        "wandb-chat",
    ]
    refused = api("PATCH", f"gateways/{chat}", gateway_document(id=chat))
    assert (refused.status_code, "demo.yaml, document 1" in refused.text) == (412, True), refused.text
    taken = api("POST", "gateways", gateway_document(name="chat"))
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    assert "demo.yaml, document 1" in taken.text
    api.put("POST", "gateways", gateway_document())
    api.put(
        "POST",
        "deployments",
        {
            **deployment_document(own_gateway, 1, 1),
            "gatewayIds": [GATEWAY, chat],
            "model": {"name": "mine/model"},
        },
    )
    models = own_gateway.get("chat", "/v1/models").json()["data"]
    assert "mine/model" in [model["id"] for model in models]
    document = yaml.safe_dump(
        {"kind": "Gateway", "spec": {**gateway_document(id=None), "organizationId": "demo-org"}}
    )
    own_gateway.edit(lambda text: f"{text}\n---\n{document}")
    eventually(lambda: "definition refused" in own_gateway.log())
    [line] = [
        line for line in own_gateway.log().splitlines() if "definition refused" in line and "name" in line
    ][:1]
    assert (
        f"demo.yaml, document 8: name: is already the name of gateway {GATEWAY}, made through the API" in line
    )


def test_a_killed_control_plane_forgets_nothing(own_gateway: Running) -> None:
    """After SIGKILL the same objects are there, and Envoy serves all the while."""
    api = Api(own_gateway)
    make(api)
    before = [api("GET", path).json()["items"] for path in ("gateways", "deployments", "events")]
    with Load(own_gateway) as load:
        pid = own_gateway.pids["xds"]
        os.kill(pid, signal.SIGKILL)
        answered = load.since(1)
        eventually(lambda: own_gateway.pids["xds"] != pid and _answers(api), seconds=30)
        eventually(lambda: api.status(f"deployments/{ONE}") == "STATUS_READY")
        api.put("PATCH", f"deployments/{ONE}", deployment_document(own_gateway, 1, 0))
        eventually(lambda: set(load.since(1)) == {"small-c"})  # what was under way is answered by the other
    assert load.failures == []
    assert answered.total() > 0
    after = [api("GET", path).json()["items"] for path in ("gateways", "deployments", "events")]
    assert after[0] == before[0]
    assert after[2][: len(before[2])] == before[2]


def _answers(api: Api) -> bool:
    try:
        return api("GET", "gateways").status_code == 200
    except httpx.HTTPError:
        return False


def igw(up: Running, *arguments: object, status: int = 0) -> str:
    """Run `igw` as a person beside `igw up` does; give what it prints on both outputs."""
    environment = {
        **os.environ,
        "IGW_SERVER": up.ready["api"],
        "IGW_STATE_DIR": str(up.folder / "state"),
        "IGW_CONFIG": "",
    }
    done = subprocess.run(
        [sys.executable, "-m", "igw_cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_commands(own_gateway: Running, tmp_path: Path) -> None:
    """apply, get, describe, traffic, proxies, delete: a gateway's whole life without another tool."""
    documents = [("Gateway", gateway_document())]
    documents += [("Deployment", deployment_document(own_gateway, n, w)) for n, w in ((1, 900), (2, 100))]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump_all({"kind": kind, "spec": spec} for kind, spec in documents))
    assert "deployment/mine-2 is READY" in igw(own_gateway, "apply", "-f", path, "--wait")
    assert igw(own_gateway, "apply", "-f", path).count("unchanged") == 3
    got = json.loads(igw(own_gateway, "get", "deployment", "mine-1", "-o", "json"))
    assert (got["kind"], got["status"]["status"]) == ("Deployment", "STATUS_READY")
    told = igw(own_gateway, "traffic", "set", MODEL, "mine-1=0", "mine-2=10", "-g", "mine", "--wait")
    assert re.search(r"mine-1 +900 → 0 +90.0 % → 0.0 %", told)
    asking = client(own_gateway)
    assert {replica(asking) for _ in range(20)} == {"small-c"}
    assert "Programmed proxies: 1/1" in igw(own_gateway, "describe", "gateway", "mine")
    assert "local" in igw(own_gateway, "proxies")
    assert "gateway has associated deployments" in igw(own_gateway, "delete", "gateway", "mine", status=5)
    igw(own_gateway, "delete", "deployments", "mine-1", "mine-2", "--wait")
    assert "gateway/mine is gone" in igw(own_gateway, "delete", "gateway", "mine", "--wait")
    igw(own_gateway, "get", "gateway", "mine", status=3)


def test_an_empty_gateway_is_the_apis_alone(tmp_path: Path) -> None:
    """`igw up` needs no file; what the API made is there again after a restart, and so is the admin's token."""
    with igw_up(tmp_path) as up:
        assert (up.ready["gateways"], up.ready["organization"]) == ([], "local")
        api, token = Api(up), Api(up).token
        api.put("POST", "gateways", gateway_document())
        eventually(lambda: [gateway["name"] for gateway in up.ready["gateways"]] == ["mine"])
        assert HOST in up.output()
    with igw_up(tmp_path) as up:
        assert [gateway["name"] for gateway in up.ready["gateways"]] == ["mine"]
        assert Api(up).token == token
        eventually(lambda: Api(up).status(f"gateways/{GATEWAY}") == "STATUS_READY")


def test_a_coreweave_token_has_the_role_of_the_roles_file(tmp_path: Path) -> None:
    """Without a role nobody may do anything; a viewer may look; another organisation sees nothing of it."""
    roles = tmp_path / "roles.yaml"
    roles.write_text("principals: {demo-user: viewer}\norganizations: {other-org: admin}\n")
    with igw_up(tmp_path / "up", "--demo", "--roles-file", str(roles)) as up:
        viewer, other = _as(up, up.token), _as(up, up.others("coreweave"))
        assert viewer("GET", "gateways").status_code == 200
        assert viewer("POST", "gateways", gateway_document()).status_code == 403
        assert other("GET", "gateways").json() == {"items": []}
        assert other("GET", "gateways/c4a70000-0000-4000-8000-000000000001").status_code == 404
        assert other("POST", "gateways", gateway_document()).status_code == 200
        refused = other("POST", "deployments", deployment_document(up, 1, 1))
        assert (refused.status_code, "is not in a network" in refused.text) == (400, True)
        assert _as(up, "CW-SECRET-nobody")("GET", "gateways").status_code == 401
        assert _as(up, "")("GET", "gateways").status_code == 401


def _as(up: Running, token: str) -> Callable[..., httpx.Response]:
    def call(method: str, path: str, document: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.request(
            method, f"{up.ready['api']}/v1alpha1/inference/{path}", json=document, headers=headers
        )

    return call
