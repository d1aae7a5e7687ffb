"""Each engine that reads bodies, in a whole gateway, against the one table of bodies, and as clients send them."""

import contextlib
import hashlib
import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.real_envoy import http2_client
from tests.real_envoy.body_cases import (
    CASES,
    ECHO,
    ENCODED,
    INVALID_TYPE,
    MIB,
    MISSING,
    NO_MULTIPART,
    Case,
)
from tests.real_envoy.echo_server import echo_server
from tests.real_envoy.running import AS_FORM, Running, chat, eventually, form, igw_up

ENGINES = ("extproc", "auto", "native")
CHAT = "/v1/chat/completions"
DEPLOYMENT = """
---
kind: Deployment
spec:
  id: de910000-0000-4000-8000-000000000009
  name: echo
  organizationId: "demo-org"
  gatewayIds: [chat, by-header]
  model:
    name: {model}
  traffic:
    weight: 1000
  staticBackend:
    endpoints:
      - {{address: "127.0.0.1", port: {port}}}
    healthCheck:
      path: /health
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """A gateway whose bodies are read by the engine of this name."""

    name: str
    gateway: Running

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=30)

    def ask(self, case: Case) -> http.client.HTTPResponse:
        """Send a case's request; its body is then to be read."""
        told = {"content-type": case.content_type, "content-encoding": case.encoding}
        headers = self.gateway.headers("chat", **{name: value for name, value in told.items() if value})
        connection = self.connection()
        connection.request("POST", CHAT, case.body, headers)
        return connection.getresponse()


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Run a demo with one more model, which says what reached it."""
    folder = tmp_path_factory.mktemp(request.param)
    options = ("--body-routing", request.param, "--stream-usage", "all")
    with echo_server() as port, igw_up(folder, "--demo", *options) as gateway:
        gateway.edit(lambda text: text + DEPLOYMENT.format(model=ECHO, port=port))
        eventually(lambda: gateway.post("chat", {"model": ECHO}).status_code == 200)
        yield Engine(request.param, gateway)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_table(engine: Engine, case: Case) -> None:
    """Every engine gives every body the answer that the table says: errors to the byte, good bodies untouched."""
    answer = engine.ask(case)
    text = answer.read()
    expected = case.native if engine.name == "native" and case.native else case.answer
    if expected == ECHO:
        assert case.body is not None
        assert reached(answer) == (len(case.body), hashlib.sha256(case.body).hexdigest())
    else:
        refuses(answer, text, expected)


def reached(answer: Any) -> tuple[int, str]:
    """Give length and digest of what reached the model server, and nothing of ours beside it."""
    assert answer.status == 200
    assert answer.getheader("x-echo-content-length") == answer.getheader("x-length")
    assert answer.getheader("x-echo-x-igw-model") is None
    return int(answer.getheader("x-length")), answer.getheader("x-digest")


def refuses(answer: Any, text: bytes, expected: Any) -> None:
    """Hold an answer to the error, or to the 404 that names the model that was read."""
    assert answer.getheader("content-type") == "application/json"
    error = json.loads(text)["error"]
    match expected:
        case str(name):
            assert (answer.status, error["message"]) == (404, f"The model '{name}' does not exist.")
        case (status, code):
            assert (answer.status, error["code"]) == (status, code)
        case _:
            assert (answer.status, text) == (expected.status, expected.body())


def raw(engine: Engine, head: Mapping[str, str], *pieces: bytes, method: str = "POST") -> Any:
    """Send a request in pieces, a moment apart, and give the answer, after an interim one if there is one."""
    told = {**engine.gateway.headers("chat"), "content-type": "application/json", **head}
    lines = [f"{method} {CHAT} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    with socket.create_connection(("127.0.0.1", engine.gateway.port), timeout=30) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        for piece in pieces:
            time.sleep(0.02)
            peer.sendall(piece)
        answer = http.client.HTTPResponse(peer)
        answer.begin()
        answer.text = answer.read()  # type: ignore[attr-defined]
        return answer


BODY = b'{"messages":[{"content":"\\"\\u00e9{"}],"model":"echo"}'


def test_a_body_in_chunks(engine: Engine) -> None:
    """A body without a length, a few bytes at a time, is read as any other; trailers do not hurt."""
    pieces = [b"%x\r\n%b\r\n" % (len(BODY[at : at + 7]), BODY[at : at + 7]) for at in range(0, len(BODY), 7)]
    for end in (b"0\r\n\r\n", b"0\r\nx-checksum: 1\r\n\r\n"):
        answer = raw(engine, {"transfer-encoding": "chunked"}, *pieces, end)
        assert (answer.status, answer.getheader("x-digest")) == (200, hashlib.sha256(BODY).hexdigest())


def test_an_empty_body_in_chunks(engine: Engine) -> None:
    """No byte of a body is no body."""
    refuse = raw(engine, {"transfer-encoding": "chunked"}, b"0\r\n\r\n")
    assert (refuse.status, refuse.text) == (400, MISSING.body())


def test_a_client_that_waits_to_be_told_to_go_on(engine: Engine) -> None:
    """`Expect: 100-continue` is answered before the body is there."""
    answer = raw(engine, {"expect": "100-continue", "content-length": str(len(BODY))}, BODY)
    assert (answer.status, answer.getheader("x-digest")) == (200, hashlib.sha256(BODY).hexdigest())


def test_a_request_without_a_body(engine: Engine) -> None:
    """GET of anything but the list of models names none."""
    answer = raw(engine, {}, method="GET")
    assert (answer.status, answer.text) == (400, MISSING.body())
    assert engine.gateway.get("chat", "/v1/models").status_code == 200


def test_over_http2(engine: Engine) -> None:
    """The same answers, many at a time on one connection."""
    url, headers = f"{engine.gateway.ready['ingress']}{CHAT}", engine.gateway.headers("chat")
    with httpx.Client(http1=False, http2=True, timeout=30) as client:
        for body in (BODY, b" " * MIB + BODY):
            answer = client.post(url, content=body, headers=headers)
            assert answer.headers["x-digest"] == hashlib.sha256(body).hexdigest()
        wrong = client.post(url, content=b'{"model":7}', headers=headers)
        assert (wrong.status_code, wrong.content) == (400, INVALID_TYPE.body())
        refuse = client.get(url, headers={**headers, "content-encoding": "br"})
        assert (refuse.status_code, refuse.content) == (415, ENCODED.body())


@pytest.mark.parametrize("frames", [[BODY], [BODY[:9], b"", BODY[9:]], []], ids=len)
def test_trailers(engine: Engine, frames: list[bytes]) -> None:
    """A body that trailers end is read as any other; trailers alone are none."""
    names = {name.lower(): value for name, value in engine.gateway.headers("chat").items()}
    told = {":method": "POST", ":scheme": "http", ":authority": names.pop("host"), ":path": CHAT, **names}
    answer = http2_client.request(engine.gateway.port, told, frames, {"x-checksum": "1"})
    if frames:
        assert answer["x-digest"] == hashlib.sha256(BODY).hexdigest()
    else:
        assert answer[":status"] == "400"


@pytest.mark.parametrize("gateway", ["chat", "by-header"])
@pytest.mark.parametrize("chunked", [False, True], ids=["at once", "in chunks"])
def test_a_stream_is_made_to_tell_its_usage(engine: Engine, gateway: str, chunked: bool) -> None:  # noqa: FBT001
    """Whichever engine reads the model, the body has one member more, and its length is right."""
    said = (
        b'"seed":12345678901234567890, "messages":["' + b"x" * (5 * MIB) + b'"],"stream":true,"model":"echo"}'
    )
    body: Any = iter([b"{", said]) if chunked else b"{" + said
    headers = {**engine.gateway.headers(gateway), "x-model-name": ECHO}
    answer = httpx.post(
        f"{engine.gateway.ready['ingress']}{CHAT}?x=1", content=body, headers=headers, timeout=30
    )
    changed = b'{"stream_options":{"include_usage":true},' + said
    assert answer.headers["x-digest"] == hashlib.sha256(changed).hexdigest()
    assert answer.headers["x-echo-content-length"] == str(len(changed))


def test_a_body_above_the_limit(engine: Engine) -> None:
    """413, whichever engine waits for it."""
    answer = engine.gateway.post("chat", b'{"model":"echo","a":"' + b"x" * (16 * MIB))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_a_forged_model(engine: Engine) -> None:
    """What a client says in our header is never believed, form data included."""
    forms = {"native": NO_MULTIPART}
    for kind, error in (
        ("application/json", MISSING),
        ("multipart/form-data; boundary=x", forms.get(engine.name)),
    ):
        for name in ("x-igw-model", "X_Igw_Model"):
            answer = engine.gateway.post("chat", b"", headers={name: ECHO, "Content-Type": kind})
            assert answer.content == (error or MISSING).body()


def test_upper_case_host(engine: Engine) -> None:
    """A host name spelled oddly, whose routes are found a filter later, has its bodies read all the same."""
    host = engine.gateway.host("chat").upper()
    answer = engine.gateway.post("chat", BODY, headers={"Host": host})
    assert answer.headers["x-digest"] == hashlib.sha256(BODY).hexdigest()
    assert engine.gateway.post("chat", b"{}", headers={"Host": host}).content == MISSING.body()
    asked = form(ECHO)
    answer = engine.gateway.post("chat", asked, headers={**AS_FORM, "Host": host})
    if engine.name == "native":
        assert answer.content == NO_MULTIPART.body()
    else:
        assert answer.headers["x-digest"] == hashlib.sha256(asked).hexdigest()


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_other_gateways_bodies_are_not_read(engine: Engine, kind: str) -> None:
    """Where a header names the model, any body goes on, however the host name is spelled."""
    body, headers = b"\xff not JSON", {"x-model-name": ECHO, "Content-Encoding": "br", "Content-Type": kind}
    host = engine.gateway.host("by-header")
    for spelled in (host, host.upper()):
        answer = engine.gateway.post("by-header", body, headers={**headers, "Host": spelled})
        assert answer.headers["x-digest"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("chunk_ms", ["100", "0"], ids=["in a stream", "before the answer"])
def test_a_client_that_goes_away(engine: Engine, chunk_ms: str) -> None:
    """The model server hears of it within a second."""
    gateway = engine.gateway
    before = cancels(gateway)
    streams = chunk_ms != "0"
    wishes = (
        {"x-demo-chunks": "1000", "x-demo-chunk-ms": chunk_ms} if streams else {"x-demo-delay-ms": "20000"}
    )
    with contextlib.suppress(httpx.ReadTimeout):
        asked = httpx.stream(
            "POST",
            f"{gateway.ready['ingress']}{CHAT}",
            json=chat(stream=streams),
            headers=gateway.headers("chat", **wishes),
            timeout=2,
        )
        with asked as answer:
            next(answer.iter_lines())
    left = time.time()
    eventually(lambda: len(cancels(gateway)) > len(before), seconds=5)
    assert cancels(gateway)[-1] - left < 1


def cancels(gateway: Running) -> list[float]:
    """Give when model servers saw clients leave."""
    return sorted(moment for seen in gateway.seen().values() for moment in seen["cancelled_at"])
