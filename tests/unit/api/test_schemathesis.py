"""Generated calls against the served OpenAPI document: no 5xx, no status or body that it does not tell.

The API runs in a thread of its own, over a real socket. Most generated bodies are made sendable (a zone that exists,
a type that is accepted), or next to nothing would ever be created.
"""

import asyncio
import contextlib
import itertools
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
import schemathesis
from igw_api.collector import collector
from igw_api.document import identifier
from igw_api.http_server import app
from igw_api.operations import Operations
from igw_api.rest import BASE
from igw_api.settings import Backends
from igw_ops.listening import listening_socket
from igw_ops.server import serving
from igw_store.cipher import Cipher
from igw_store.sqlite import open_store
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.schemas import BaseSchema

from tests.builders import deployment_id, gateway_id
from tests.unit.api.documents import claim_body, gateway_body, managed_body
from tests.unit.api.installation import ADMIN, authentication, made_id, parameters, with_settings
from tests.unit.api.usage_collector import usage_collector

EVERYWHERE = with_settings(
    parameters=parameters(zones=["US-EAST-04A"]),
    backends=Backends((ip_network("0.0.0.0/0"), ip_network("::/0")), dns=True, docker=True),
)
HEADERS = {"authorization": f"Bearer {ADMIN}"}
IDS = {
    "gateways": gateway_id(1),
    "deployments": deployment_id(1),
    "capacityclaims": "ca000000-0000-4000-8000-000000000001",
}
BODIES = {"gateways": gateway_body(), "deployments": managed_body(), "capacityclaims": claim_body()}


async def _serve(listening: socket.socket, ended: threading.Event) -> None:
    store = await open_store(None, Cipher.ephemeral())
    ids = itertools.count(1)
    async with usage_collector() as beside, collector(beside.url) as usage:
        operations = Operations(
            store,
            EVERYWHERE,
            clock=lambda: datetime.now(UTC),
            new_id=lambda: made_id(next(ids)),
            usage=usage,
        )
        async with serving(app(operations.call, authentication()), listening):
            await asyncio.to_thread(ended.wait)
    await store.aclose()


@contextlib.contextmanager
def _served() -> Iterator[str]:
    ended = threading.Event()
    with listening_socket("the API", "127.0.0.1", 0) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(_serve(listening, ended)))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


_STATEFUL = {"max-examples": 60, "deterministic": True, "mode": "positive"}
"""Invalid bodies are the other phases' affair: here they would only end the paths early."""


def _config(url: str, phases: Sequence[str], kind: str) -> schemathesis.Config:
    # The bodies are those of POST, whose coverage takes most of the time.
    operations: list[dict[str, Any]] = [
        {
            "include-name-regex": "^PATCH ",
            "phases": {"coverage": {"enabled": False}},
        }
    ]
    if kind:
        operations = [{"exclude-path-regex": rf"/{kind}(/\{{id\}})?$", "enabled": False}]
    return schemathesis.Config.from_dict(
        {
            "base-url": url,
            "seed": 1,
            "auth": {"openapi": {"bearer": {"bearer": ADMIN}}},
            "generation": _STATEFUL if "stateful" in phases else {"max-examples": 6, "deterministic": True},
            "checks": {
                # What the schema cannot say: the gateway exists, max is at least min, the network is allowed.
                "positive_data_acceptance": {"enabled": False},
                # What is being deleted may still be read; the specification says so.
                "use_after_free": {"enabled": False},
            },
            "phases": {
                name: {"enabled": name in phases} for name in ("examples", "coverage", "fuzzing", "stateful")
            },
            "operations": operations,
        }
    )


@contextlib.contextmanager
def _document(phases: Sequence[str], kind: str) -> Iterator[BaseSchema]:
    """Serve an API with one object of each kind, and read its document as a client does."""
    with _served() as url:
        for path, body in ((path, {**body, "id": IDS[path]}) for path, body in BODIES.items()):
            httpx.post(f"{url}{BASE}/{path}", json=body, headers=HEADERS).raise_for_status()
        loaded = schemathesis.openapi.from_url(
            f"{url}/openapi.json", config=_config(url, phases, kind), wait_for_schema=10
        )
        loaded.hook("map_body")(sendable)
        if "stateful" in phases:
            loaded.hook("map_body")(Named())
        else:
            loaded.hook("map_path_parameters")(known)
        yield loaded


def sendable(context: Any, body: Any) -> Any:
    """Give a generated body what no generator can guess; what is not of the right shape stays as it is."""
    if not isinstance(body, dict):
        return body
    mended = {key: _mended(key, value) for key, value in body.items()}
    if context.operation.method.upper() == "PATCH" and identifier(mended.get("id")):
        del mended["id"]
    return mended


def _mended(key: str, value: Any) -> Any:
    match key, value:
        case "zones", [str(zone)] if _is_name(zone):
            return ["US-EAST-04A"]
        case "resources", {"zones": [str(), *_] as zones} if all(map(_is_name, zones)):
            return {**value, "zones": ["US-EAST-04A"]}
        case "gatewayIds", [str(gateway), *_] if identifier(gateway):
            return [IDS["gateways"]]
        case "runtime", {"engine": engine} if _is_name(engine):
            return {**value, "engine": "vllm"}
        case "autoscaling", {"min": int(least), "max": int(most)} if 0 < most < least:
            return {**value, "min": most}
        case _:
            return value


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 255


class Named:
    """Gives every sound name another number: generators like to repeat the shortest, and a name is one object's."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, _context: Any, body: Any) -> Any:
        """Give a generated body its own name."""
        match body:
            case {"name": name} if _is_name(name):
                return {**body, "name": f"name-{next(self._numbers)}"}
            case _:
                return body


def known(context: Any, path: Any) -> Any:
    """Let most calls by id meet an object."""
    operation = context.operation
    if operation.method.upper() == "DELETE" or not path or identifier(path.get("id")) is None:
        return path
    return {**path, "id": IDS[operation.path.removeprefix(BASE).split("/")[1]]}


def _run(*phases: str, kind: str = "") -> tuple[list[str], Counter[tuple[str, int]]]:
    """Give the failures of these phases, on one kind of object or all, and what was answered how often."""
    failures: list[str] = []
    answered: Counter[tuple[str, int]] = Counter()
    with _document(phases, kind) as document:
        for event in from_schema(document).execute():
            match event:
                case events.ScenarioFinished(recorder=recorder):
                    failures += _failures(recorder)
                    answered.update(_answered(recorder))
                case events.NonFatalError() | events.FatalError():
                    failures.append(str(event))
                case _:
                    pass
    return failures, answered


def _failures(recorder: ScenarioRecorder) -> Iterator[str]:
    for case_id, checks in recorder.checks.items():
        # Protobuf's JSON takes null for left out, which the schema does not spell out for every field.
        nulls = _has_null(recorder.cases[case_id].value.body)
        for check in checks:
            if check.failure_info is not None and not (nulls and check.name == "negative_data_rejection"):
                yield f"{recorder.label}: {check.name}: {check.failure_info.failure}"


def _has_null(body: Any) -> bool:
    match body:
        case dict():
            return any(_has_null(value) for value in body.values())
        case list():
            return any(_has_null(value) for value in body)
        case _:
            return body is None


def _answered(recorder: ScenarioRecorder) -> Iterator[tuple[str, int]]:
    for case_id, node in recorder.cases.items():
        interaction = recorder.interactions.get(case_id)
        if interaction is not None and interaction.response is not None:
            yield node.value.operation.label, interaction.response.status_code


@pytest.mark.timeout(400)
def test_generated_calls_are_answered_as_documented() -> None:
    """Valid and invalid calls of every operation: documented answers, no failure of ours, nothing without a token.

    What the schema forbids is refused, too.
    """
    failures, answered = _run("examples", "coverage", "fuzzing")
    assert failures == []
    assert {status for _, status in answered} <= {200, 204, 400, 401, 404, 405, 409, 412, 415}
    assert len({operation for operation, status in answered if status == 200}) >= 18


@pytest.mark.parametrize("kind", ["gateways", "deployments", "capacityclaims"])
def test_objects_live_and_die_as_documented(kind: str) -> None:
    """Along the document's links, create → get → update → delete: documented answers, and each step is reached."""
    failures, answered = _run("stateful", kind=kind)
    assert failures == []
    one = f"{BASE}/{kind}/{{id}}"
    steps = (f"POST {BASE}/{kind}", f"GET {one}", f"PATCH {one}", f"DELETE {one}")
    assert {step: answered[step, 200] > 0 for step in steps} == dict.fromkeys(steps, True)
