"""Odd bytes, sent to a real gateway: refused, or routed as the plain form is; never to another's model servers."""

import contextlib
import http.client
import io
import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from tests.real_envoy.running import Running, eventually, igw_up
from tests.real_envoy.smuggling_cases import BY_HEADER, BY_PATH, HTTP1, LAST, PLAIN, TOKEN, Case
from tests.real_envoy.smuggling_http2 import HTTP2, RESET, Http2Case, exchange

OURS, THEIRS = "small-a", "small-b"
DEFINITIONS = """
{gateways}
kind: Deployment
spec:
  id: de910000-0000-4000-8000-0000000000a1
  name: ours
  organizationId: demo-org
  gatewayIds: [body, header, path]
  model: {{name: acme/m}}
  traffic: {{weight: 1000}}
  staticBackend: {{endpoints: [{{address: 127.0.0.1, port: {ours}}}], healthCheck: {{path: /health}}}}
---
kind: Deployment
spec:
  id: de910000-0000-4000-8000-0000000000a2
  name: theirs
  organizationId: other-org
  gatewayIds: [theirs]
  model: {{name: acme/m}}
  traffic: {{weight: 1000}}
  staticBackend: {{endpoints: [{{address: 127.0.0.1, port: {theirs}}}], healthCheck: {{path: /health}}}}
"""
GATEWAY = """
kind: Gateway
spec:
  id: c4a70000-0000-4000-8000-0000000000a{number}
  name: {name}
  organizationId: {organization}
  zones: [LOCAL]
  coreWeaveAuth: {{}}
  {routing}
  endpointConfiguration: {{additionalDns: [{name}.localhost]}}
---"""
BY_BODY = "bodyBasedRouting: {apiType: API_TYPE_OPENAI}"
GATEWAYS = "".join(
    GATEWAY.format(number=number, name=name, organization=organization, routing=routing)
    for number, (name, organization, routing) in enumerate(
        [
            ("body", "demo-org", BY_BODY),
            ("header", "demo-org", "headerBasedRouting: {headerName: X-Model-Name}"),
            ("path", "demo-org", "pathBasedRouting: {}"),
            ("theirs", "other-org", BY_BODY),
        ]
    )
)
DIFFERS = {"x-request-id", "content-length", "transfer-encoding"}


@dataclass(frozen=True)
class Answer:
    """What a client makes of an answer."""

    status: int
    said: str
    closes: bool


@dataclass(frozen=True)
class Reached:
    """What clients asked of a model server: how often each path, and the last request."""

    asked: Mapping[str, int]
    last: Any


NOTHING = Reached({}, None)


class Scene:
    """Three gateways of ours on one model server, and one of a stranger's on another."""

    def __init__(self, gateway: Running) -> None:
        self._gateway = gateway
        self._servers = {
            name: http.client.HTTPConnection("127.0.0.1", gateway.replica_port(name), timeout=10)
            for name in (OURS, THEIRS)
        }

    def exchange(self, sent: bytes) -> list[Answer]:
        """Send bytes, and give the answers until the connection is or will be closed."""
        received = b""
        with (
            socket.create_connection(("127.0.0.1", self._gateway.port), timeout=10) as peer,
            contextlib.suppress(ConnectionError),
        ):
            peer.sendall(sent.replace(TOKEN, self._gateway.token.encode()))
            while more := peer.recv(65536):
                received += more
                if (found := answers(received)) and found[-1].closes:
                    break
        return answers(received)

    def forget(self) -> None:
        """Have the model servers forget what they saw."""
        for name in self._servers:
            self._demo("POST", name, "/demo/reset")

    def reached(self, name: str) -> Reached:
        """Give what clients asked of a model server since."""
        seen = self._demo("GET", name, "/demo/seen")
        asked = {p: n for p, n in seen["requests"].items() if p != "/health" and not p.startswith("/demo/")}
        last = seen["last"]
        if last is not None:
            last["headers"] = sorted(pair for pair in last["headers"] if pair[0] not in DIFFERS)
        return Reached(asked, last)

    def becomes(self, sent: bytes) -> tuple[list[Answer], Reached]:
        """Give the answers to these bytes and to a request behind them, and what our model server was asked."""
        self.forget()
        found = self.exchange(sent + LAST)
        assert self.reached(THEIRS) == NOTHING
        return found, self.reached(OURS)

    def over_http2(self, case: Http2Case) -> Answer:
        """Give the answer to a request over HTTP/2."""
        status, text = exchange(self._gateway.port, self._gateway.token.encode(), case)
        return Answer(status, _said(text), closes=False)

    @cache  # noqa: B019 - of the one scene of the module
    def plainly(self, sent: bytes) -> tuple[list[Answer], Reached]:
        """Give what becomes of a plain request: it is answered, and so is the one behind it."""
        found, reached = self.becomes(sent)
        assert [answer.status for answer in found[1:]] == [200], found
        return found, reached

    def _demo(self, method: str, name: str, path: str) -> Any:
        self._servers[name].request(method, path)
        return json.loads(self._servers[name].getresponse().read())


class _Received(io.BytesIO):
    """Bytes that HTTPResponse reads as from a socket, and does not close."""

    def makefile(self, mode: str) -> "_Received":
        assert mode == "rb"
        return self

    def close(self) -> None:
        pass


def answers(received: bytes) -> list[Answer]:
    """Give the whole answers at the front of these bytes."""
    found, stream = [], _Received(received)
    while stream.tell() < len(received):
        response = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
        try:
            response.begin()
            text = response.read()
        except http.client.HTTPException:
            break
        found.append(Answer(response.status, _said(text), response.getheader("connection") == "close"))
    return found


def _said(text: bytes) -> str:
    """Give what an answer says that is not new each time."""
    try:
        document = json.loads(text)
    except ValueError:
        return repr(text)
    match document:
        case {"error": {"code": code}}:
            return str(code)
        case {"choices": [{"message": {"content": content}}]}:
            return str(content)
        case _:
            return str(document)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Run it."""
    with igw_up(tmp_path_factory.mktemp("smuggling"), "--demo") as gateway:
        ports = {"ours": gateway.replica_port(OURS), "theirs": gateway.replica_port(THEIRS)}
        gateway.edit(lambda _: DEFINITIONS.format(gateways=GATEWAYS, **ports))
        scene = Scene(gateway)
        served = (PLAIN, BY_HEADER, BY_PATH)
        eventually(lambda: all(scene.exchange(sent + LAST)[0].status == 200 for sent in served))
        yield scene


@pytest.mark.parametrize("case", HTTP1, ids=lambda case: case.name)
def test_http1(scene: Scene, case: Case) -> None:
    """What is refused reaches nobody; what is not is what its plain form is, to the client and to the model server.

    What follows on the connection is answered for itself, or the connection is closed.
    """
    found, reached = scene.becomes(case.sent)
    if isinstance(case.comes_to, int):
        assert (found[0].status, reached) == (case.comes_to, NOTHING), found
        assert found[1:] in ([], scene.plainly(PLAIN)[0][1:])
    else:
        assert (found, reached) == scene.plainly(case.comes_to)
    assert scene.exchange(PLAIN + LAST) == scene.plainly(PLAIN)[0]


@pytest.fixture(scope="module")
def broken_off(scene: Scene) -> Mapping[str, int]:
    """Send all that is to end without an answer, at once, as Envoy takes its time to close; give their answers' status.

    Model servers hear of none.
    """
    cases = [case for case in HTTP2 if case.comes_to == RESET]
    scene.forget()
    with ThreadPoolExecutor(len(cases)) as senders:
        answers = list(senders.map(scene.over_http2, cases))
    assert (scene.reached(OURS), scene.reached(THEIRS)) == (NOTHING, NOTHING)
    return {case.name: answer.status for case, answer in zip(cases, answers, strict=True)}


@pytest.mark.parametrize("case", HTTP2, ids=lambda case: case.name)
def test_http2(scene: Scene, broken_off: Mapping[str, int], case: Http2Case) -> None:
    """What has no plain form reaches nobody; what has one is what that is over HTTP/1."""
    if case.comes_to == RESET:
        assert broken_off[case.name] == RESET
        return
    scene.forget()
    answer = scene.over_http2(case)
    assert scene.reached(THEIRS) == NOTHING
    if isinstance(case.comes_to, int):
        assert (answer.status, scene.reached(OURS)) == (case.comes_to, NOTHING)
    else:
        reached = scene.reached(OURS)
        found, plain = scene.plainly(case.comes_to)
        assert (answer, reached) == (found[0], plain)
    assert scene.exchange(PLAIN + LAST) == scene.plainly(PLAIN)[0]
