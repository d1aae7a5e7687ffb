"""What the API says of gateways and deployments is what Envoy and the replicas said."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import httpx

from tests.real_envoy.running import Running, chat, eventually

Document = dict[str, Any]
TOO_LARGE = "(!)" * 21
"""A model's name that our rules let through; in Envoy's default limits its percent-encodings are too large a regular
expression, which our bootstrap raises."""


class Api:
    """The management API of a running gateway, asked as the local admin."""

    def __init__(self, gateway: Running) -> None:
        token = open(gateway.ready["adminTokenFile"], encoding="utf-8").read().strip()  # noqa: PTH123, SIM115
        self._client = httpx.Client(
            base_url=f"{gateway.ready['api']}/v1alpha1/inference",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
        )

    def call(self, method: str, path: str, document: Document | None = None) -> Document:
        answer = self._client.request(method, path, json=document)
        assert answer.status_code == 200, answer.text
        found: Document = answer.json()
        return found

    def gateway(self, name: str, **fields: Any) -> Document:
        spec: Document = self.call("POST", "gateways", _gateway(name, **fields))["gateway"]["spec"]
        return spec

    def deployment(self, name: str, gateway: Document, model: str, port: int) -> Document:
        made = self.call("POST", "deployments", _deployment(name, gateway["id"], model, port))
        spec: Document = made["deployment"]["spec"]
        return spec

    def said(self, kind: str, object_id: str) -> tuple[str, dict[str, str]]:
        """Give an object's status, and its conditions' messages by type and reason, but for those of certificates."""
        found = self.call("GET", f"{kind}s/{object_id}")[kind]["status"]
        said = {f"{c['type']} {c['reason']}": c["message"] for c in found["conditions"]}
        conditions = {key: message for key, message in said.items() if not key.startswith("CertificateReady")}
        return found["status"].removeprefix("STATUS_"), conditions

    def status(self, kind: str, object_id: str) -> str:
        return self.said(kind, object_id)[0]

    def statuses(self) -> set[str]:
        """Give every status that a gateway has now."""
        return {item["status"]["status"] for item in self.call("GET", "gateways")["items"]}


def _gateway(name: str, **fields: Any) -> Document:
    routing = fields or {"bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"}}
    names = {"additionalDns": [f"{name}.localhost"]}
    return {
        "name": name,
        "zones": ["US-EAST-04A"],
        "coreWeaveAuth": {},
        "endpointConfiguration": names,
        **routing,
    }


def _deployment(name: str, gateway_id: str, model: str, port: int) -> Document:
    return {
        "name": name,
        "gatewayIds": [gateway_id],
        "model": {"name": model},
        "traffic": {"weight": 1},
        "staticBackend": {"endpoints": [{"address": "127.0.0.1", "port": port}]},
    }


def restart_envoy(gateway: Running, change: Callable[[Document], None]) -> None:
    """Change Envoy's bootstrap and kill it; its supervisor starts it again."""
    path = gateway.folder / "state" / "envoy.json"
    bootstrap = json.loads(path.read_text())
    change(bootstrap)
    path.write_text(json.dumps(bootstrap))
    pid = gateway.pids["envoy"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gateway.pids.get("envoy") not in {None, pid})


def strict(bootstrap: Document) -> None:
    """Take away what our bootstrap allows beyond Envoy's defaults."""
    bootstrap["layered_runtime"]["layers"] = []


def alone(bootstrap: Document) -> None:
    """Lead Envoy to a control plane that is not there."""
    [cluster] = bootstrap["static_resources"]["clusters"]
    [locality] = cluster["load_assignment"]["endpoints"]
    locality["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"] = 1


def serves(gateway: Running, host: str, model: str = "demo/small") -> bool:
    """Say whether a request to a gateway made through the API is answered by a model."""
    headers = gateway.headers("chat", Host=f"{host}.localhost")
    url = f"{gateway.ready['ingress']}/v1/chat/completions"
    try:
        return httpx.post(url, json=chat(model), headers=headers, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def test_a_gateway_is_ready_once_envoy_has_it_and_then_gone(module_gateway: Running) -> None:
    """READY means that it serves; deleted, it is not found, and its name leads nowhere."""
    api, port = Api(module_gateway), module_gateway.replica_port("small-a")
    gateway = api.gateway("fresh")
    deployment = api.deployment("fresh", gateway, "demo/small", port)
    eventually(lambda: api.status("deployment", deployment["id"]) == "READY")
    assert serves(module_gateway, "fresh")
    assert api.said("gateway", gateway["id"]) == (
        "READY",
        {"Programmed Programmed": "Programmed proxies: 1/1"},
    )
    assert api.said("deployment", deployment["id"]) == (
        "READY",
        {
            "Programmed Programmed": "Programmed proxies: 1/1",
            "Ready Ready": "Ready replicas: 1/1. All resources are ready",
        },
    )
    api.call("DELETE", f"deployments/{deployment['id']}")
    eventually(lambda: deployment["id"] not in str(api.call("GET", "deployments")))
    api.call("DELETE", f"gateways/{gateway['id']}")
    eventually(lambda: gateway["id"] not in str(api.call("GET", "gateways")))
    assert not serves(module_gateway, "fresh")


def test_what_envoy_refuses_is_an_error_in_its_words(own_gateway: Running) -> None:
    """Only the gateway it is about is touched; it keeps what it had, and is READY once mended."""
    api, port = Api(own_gateway), own_gateway.replica_port("small-a")
    restart_envoy(own_gateway, strict)
    gateway, other = api.gateway("picky", pathBasedRouting={}), api.gateway("other")
    kept = api.deployment("kept", gateway, "demo/small", port)
    eventually(lambda: api.status("deployment", kept["id"]) == "READY")
    bad = api.deployment("bad", gateway, TOO_LARGE, port)
    eventually(lambda: api.status("gateway", gateway["id"]) == "ERROR")
    for kind, key in (("gateway", gateway["id"]), ("deployment", bad["id"])):
        eventually(lambda kind=kind, key=key: api.status(kind, key) == "ERROR")  # type: ignore[misc]
        text = api.said(kind, key)[1]["Programmed Rejected"]
        assert text.startswith("Programmed proxies: 0/1. local: ")
        assert "program size" in text
    assert api.status("deployment", kept["id"]) == "READY"
    added = api.deployment("added", other, "demo/small", port)
    eventually(lambda: api.status("deployment", added["id"]) == "READY")
    assert serves(own_gateway, "other")
    url = f"{own_gateway.ready['ingress']}/demo%2Fsmall/v1/chat/completions"
    answer = httpx.post(url, json=chat(), headers=own_gateway.headers("chat", Host="picky.localhost"))
    assert answer.status_code == 200
    api.call("PATCH", f"deployments/{bad['id']}", _deployment("bad", gateway["id"], "demo/plain", port))
    eventually(lambda: api.status("gateway", gateway["id"]) == "READY")
    eventually(lambda: api.status("deployment", bad["id"]) == "READY")
    assert api.statuses() == {"STATUS_READY"}


def test_an_envoy_that_refuses_one_of_many_gets_all_the_others(own_gateway: Running) -> None:
    """A new Envoy refuses the response that holds the bad one: the others are sent again without it."""
    api, port = Api(own_gateway), own_gateway.replica_port("small-a")
    gateway, other = api.gateway("picky", pathBasedRouting={}), api.gateway("other")
    bad = api.deployment("bad", gateway, TOO_LARGE, port)
    good = api.deployment("good", other, "demo/small", port)
    eventually(lambda: api.statuses() == {"STATUS_READY"})
    restart_envoy(own_gateway, strict)
    eventually(lambda: api.status("gateway", gateway["id"]) == "ERROR", seconds=30)
    eventually(lambda: serves(own_gateway, "other"))
    assert own_gateway.post("chat", chat()).status_code == 200
    assert "program size" in api.said("gateway", gateway["id"])[1]["Programmed Rejected"]
    for kind, key in (("gateway", other["id"]), ("deployment", good["id"])):
        eventually(lambda kind=kind, key=key: "Programmed Programmed" in api.said(kind, key)[1])  # type: ignore[misc]
        assert api.status(kind, key) == "READY"
    status = httpx.get(f"http://127.0.0.1:{own_gateway.option('xds', '--ops-port')}/status").json()
    [proxy] = status["proxies"]
    assert proxy["lastNack"]["names"] == [f"gateway/{gateway['id']}"]
    assert bad["id"] in str(api.call("GET", "deployments"))


def test_without_an_envoy_nothing_becomes_ready(own_gateway: Running) -> None:
    """A new gateway stays CREATING and says why; one that was READY stays so, and nobody knows whether it serves."""
    api = Api(own_gateway)
    before = api.gateway("before")
    eventually(lambda: api.status("gateway", before["id"]) == "READY")
    restart_envoy(own_gateway, alone)
    missing = "Programmed proxies: 0/0. No Envoy of zone US-EAST-04A is connected"
    eventually(lambda: api.said("gateway", before["id"]) == ("READY", {"Programmed NoProxy": missing}))
    after = api.gateway("after")
    eventually(lambda: api.said("gateway", after["id"]) == ("CREATING", {"Programmed NoProxy": missing}))
    xds_port = int(own_gateway.option("xds", "--port"))

    def back(bootstrap: Document) -> None:
        text = json.dumps(bootstrap["static_resources"]).replace(
            '"port_value": 1}', f'"port_value": {xds_port}}}'
        )
        bootstrap["static_resources"] = json.loads(text)

    restart_envoy(own_gateway, back)
    eventually(lambda: api.statuses() == {"STATUS_READY"})
    assert api.said("gateway", after["id"])[1] == {"Programmed Programmed": "Programmed proxies: 1/1"}


def test_a_deployment_is_as_ready_as_its_replicas(module_gateway: Running) -> None:
    """Without a replica that is ready a deployment that was READY is an ERROR, until one is back."""
    api, port = Api(module_gateway), module_gateway.replica_port("small-c")
    deployment = api.deployment("lonely", api.gateway("lonely"), "demo/small", port)
    eventually(lambda: api.status("deployment", deployment["id"]) == "READY")
    httpx.post(f"http://127.0.0.1:{port}/demo/health", json={"healthy": False})
    eventually(lambda: api.status("deployment", deployment["id"]) == "ERROR")
    conditions = api.said("deployment", deployment["id"])[1]
    assert conditions == {
        "Programmed Programmed": "Programmed proxies: 1/1",
        "Ready NotReady": "Ready replicas: 0/1",
    }
    httpx.post(f"http://127.0.0.1:{port}/demo/health", json={"healthy": True})
    eventually(lambda: api.status("deployment", deployment["id"]) == "READY")


def test_replicas_that_register_serve_until_they_are_not_heard_of(module_gateway: Running) -> None:
    """A heartbeat brings traffic, its end takes it away: 503, and ERROR for a deployment that was READY."""
    api, port = Api(module_gateway), module_gateway.replica_port("small-a")
    gateway = api.gateway("registered")
    unplaced = {
        "model": {"name": "demo/small", "bucket": "b", "path": "p"},
        "runtime": {"engine": "vllm"},
        "resources": {"instanceType": "gd-8xh100ib-i128", "gpuCount": 1},
        "autoscaling": {"min": 1, "max": 2},
    }
    document = {**_deployment("registered", gateway["id"], "demo/small", port), **unplaced}
    del document["staticBackend"]
    deployment = api.call("POST", "deployments", document)["deployment"]["spec"]
    waiting = {"Programmed Programmed": "Programmed proxies: 1/1", "Ready NotReady": "Ready replicas: 0/1"}
    eventually(lambda: api.said("deployment", deployment["id"]) == ("CREATING", waiting))
    assert not serves(module_gateway, "registered")
    heartbeat = {"address": "127.0.0.1", "port": port, "ttlSeconds": 2}

    def beats() -> bool:
        return bool(api.call("PUT", f"deployments/{deployment['id']}/replicas/one", heartbeat))

    eventually(lambda: beats() and api.status("deployment", deployment["id"]) == "READY")
    eventually(lambda: beats() and serves(module_gateway, "registered"))
    eventually(lambda: api.status("deployment", deployment["id"]) == "ERROR")
    eventually(lambda: not serves(module_gateway, "registered"))
