"""REST's own rules: paths, verbs, bodies, queries, and answers when something else fails."""

import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import prometheus_client
import pytest
import pytest_asyncio
import structlog
from igw_api.caller import Caller
from igw_api.http_server import app
from igw_api.methods import Method
from igw_api.rest import BASE, MAX_BODY_BYTES, TABLE
from igw_ops.server import serving

from tests.builders import gateway_id
from tests.unit.api.documents import gateway_body
from tests.unit.api.installation import ADMIN, Installation, authentication, checked

AUTHORIZED = {"authorization": f"Bearer {ADMIN}"}


async def post(api: Installation, content: bytes, **headers: str) -> httpx.Response:
    """Post a raw body to the gateways."""
    response = await api.client.post(BASE + "/gateways", content=content, headers={**AUTHORIZED, **headers})
    checked("POST", "/gateways", response)
    return response


async def test_every_method_has_one_path() -> None:
    """Each method of the API is served at one path and verb."""
    served = [method for verbs in TABLE.values() for method in verbs.values()]
    assert sorted(served) == sorted(Method)


async def test_unknown_paths_are_json_too(api: Installation) -> None:
    """What is at no path is 404 with an error document; a trailing slash or a line break makes another path."""
    broken = (f"{BASE}/gateways%0A", f"{BASE}/gateways/{gateway_id(1)}%0A", f"{BASE}/events%0a")
    for path in ("/", "/nothing", f"{BASE}/gateways/", f"{BASE}/Gateways", f"{BASE}/gateways/a/b", *broken):
        response = await api.client.get(path, headers=AUTHORIZED)
        expected = {"code": "not_found", "message": "there is nothing at this path", "details": []}
        assert (response.status_code, response.json()) == (404, expected)


async def test_a_wrong_verb_is_told_the_right_ones(api: Installation) -> None:
    """405 with `Allow`, for verbs that the path has not; `parameters` is no id."""
    for verb, path, allowed in (
        ("PUT", "/gateways", "GET, HEAD, OPTIONS, POST"),
        ("PATCH", "/gateways/parameters", "GET, HEAD, OPTIONS"),
        ("POST", f"/gateways/{gateway_id(1)}", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("BREW", "/events", "GET, HEAD, OPTIONS"),
    ):
        response = await api.client.request(verb, BASE + path, headers=AUTHORIZED)
        assert (response.status_code, response.headers["allow"]) == (405, allowed)
        assert response.json()["code"] == "unimplemented"


async def test_options_and_head(api: Installation) -> None:
    """OPTIONS tells the verbs without a token; HEAD answers as GET does, without a body."""
    options = await api.client.request("OPTIONS", BASE + "/gateways")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    read = await api.client.get(BASE + "/gateways", headers=AUTHORIZED)
    head = await api.client.head(BASE + "/gateways", headers=AUTHORIZED)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == read.headers["content-length"]
    assert (await api.client.head(BASE + "/gateways")).status_code == 401


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON: line 1, column 1"),
        (b'{"name": ', "the body is not JSON: line 1, column 10"),
        (b"[]", "the body must be a JSON object"),
        (b"null", "the body must be a JSON object"),
        (b'{"name": "a", "name": "b"}', "the body is not JSON: the key 'name' is written twice"),
        (b'{"coreWeaveAuth": {"a": 1, "a": 1}}', "the body is not JSON: the key 'a' is written twice"),
        (b'{"traffic": {"weight": NaN}}', "the body is not JSON: NaN is no JSON number"),
        (b'{"a": -Infinity}', "the body is not JSON: -Infinity is no JSON number"),
        (b'{"name": "\xff"}', "the body is not UTF-8"),
        ('{"name": "a"}'.encode("utf-16"), "the body is not UTF-8"),
        (b'\xef\xbb\xbf{"name": "a"}', "the body is not JSON: line 1, column 1"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b'{"a":' * 100_000, "the body is nested too deeply"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "a" + "[0]" * 31 + ": is nested too deeply"),
        (
            b'{"a":' * 40 + b"1" + b"}" * 40,
            "a" + ".a" * 31 + ": is nested too deeply",
        ),
        (b'{"a": [' + b"0," * 50_000 + b"0]}", "the request must have at most 50000 values"),
        (b'{"name": "' + b"n" * 65_536 + b'"}', "the spec must have at most 65536 bytes as JSON"),
    ],
)
async def test_a_body_that_is_no_document_is_refused(api: Installation, body: bytes, message: str) -> None:
    """Whatever is not one plain JSON object in UTF-8 is `invalid_argument`, never a failure of ours."""
    response = await post(api, body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")
    assert response.json()["message"] == message


async def test_numbers_of_any_size_are_refused_quietly(api: Installation) -> None:
    """A number beyond all bounds is an error of its field or of the body, never a failure of ours."""
    for number in (b"1e400", b"9" * 5000, b"-1", b"1e-5"):
        response = await post(api, b'{"name": ' + number + b"}")
        assert response.status_code == 400


async def test_a_body_is_bounded(api: Installation) -> None:
    """More than 1 MiB is 413, whole or in pieces; what is deterministic has no code that clients retry."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65536

    for content in (b" " * (MAX_BODY_BYTES + 1), pieces()):
        response = await api.client.post(BASE + "/gateways", content=content, headers=AUTHORIZED)
        checked("POST", "/gateways", response)
        expected = {
            "code": "invalid_argument",
            "message": "the body must have at most 1048576 bytes",
            "details": [],
        }
        assert (response.status_code, response.json()) == (413, expected)
    assert (await post(api, b" " * (MAX_BODY_BYTES - 2) + b"{}")).status_code == 400


async def test_a_body_is_json_and_says_so(api: Installation) -> None:
    """Another media type and a compressed body are 415; no media type is taken for JSON, parameters do not matter."""
    body = json.dumps(gateway_body()).encode()
    for headers in ({"content-type": "text/plain"}, {"content-encoding": "gzip"}):
        assert (await post(api, body, **headers)).status_code == 415
    for number, media_type in enumerate(("application/json; charset=utf-8", "Application/JSON")):
        body = json.dumps(gateway_body(name=f"gateway-{number}")).encode()
        assert (await post(api, body, **{"content-type": media_type})).status_code == 200
    assert (await post(api, body)).status_code == 409


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/gateways?colour=red", "colour: unknown field"),
        ("/gateways?parentGatewayId=x", "parentGatewayId: unknown field"),
        ("/deployments?updatedAfter=a&updatedAfter=b", "updatedAfter: must be given once"),
        (f"/gateways/{gateway_id(1)}?id={gateway_id(2)}", "id: unknown field"),
        (f"/gateways/{gateway_id(1)}?updatedAfter=2026-01-31T08:00:00Z", "updatedAfter: unknown field"),
        ("/deployments/parameters?gatewayIds=x", "gatewayIds[0]: must be the id of a gateway, a UUID"),
    ],
)
async def test_a_query_is_held_to_its_fields(api: Installation, path: str, message: str) -> None:
    """An unknown query parameter is an error that names it, and so is one said twice."""
    answer = await api.call("GET", path)
    assert (answer.status, answer.body["message"]) == (400, message)


async def test_a_write_takes_no_query(api: Installation) -> None:
    """The body says all: a query beside it is unknown."""
    answer = await api.call("POST", "/gateways", gateway_body(), name="chat")
    assert (answer.status, answer.body["message"]) == (400, "name: unknown field")


class Failing:
    """Stands for operations that break."""

    async def call(self, _method: Method, _caller: Caller, _document: Mapping[str, Any]) -> dict[str, Any]:
        """Fail as only a mistake of ours does."""
        raise ZeroDivisionError("secret-token")


@pytest_asyncio.fixture
async def failing() -> AsyncIterator[httpx.AsyncClient]:
    """Run an API whose operations break."""
    built = app(Failing().call, authentication(), new_id=lambda: "request-1")
    transport = httpx.ASGITransport(built, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


async def test_our_own_failure_is_told_with_the_requests_id(failing: httpx.AsyncClient) -> None:
    """500 `internal`, and nothing of the reason but the id under which the log has it."""
    response = await failing.get(BASE + "/gateways", headers=AUTHORIZED)
    message = "internal error; the log knows it as request request-1"
    expected = {"code": "internal", "message": message, "details": []}
    checked("GET", "/gateways", response)
    assert (response.status_code, response.json()) == (500, expected)
    assert response.headers["x-request-id"] == "request-1"


async def test_each_call_is_one_log_line_without_its_token(api: Installation) -> None:
    """The line says method, path, status, time and caller; never a token, a body or a query."""
    structlog.contextvars.clear_contextvars()
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await api.call("GET", "/gateways", updatedAfter="secret")
        await api.client.get("/nothing")
    first, second = lines
    assert first.pop("milliseconds") >= 0
    assert first.pop("request_id")
    assert first == {
        "event": "call",
        "log_level": "info",
        "method": "ListGateways",
        "verb": "GET",
        "path": f"{BASE}/gateways",
        "status": 400,
        "principal": "local-admin",
        "organization": "acme",
    }
    assert (second["method"], second["status"]) == ("other", 404)
    assert ADMIN not in str(lines)


async def test_calls_are_counted_by_method_and_code(api: Installation) -> None:
    """A counter and a histogram by method and status; paths of callers' making are one label."""

    def count(method: str, code: str) -> float:
        labels = {"method": method, "code": code}
        return prometheus_client.REGISTRY.get_sample_value("igw_api_calls_total", labels) or 0

    before = count("GetGateway", "404"), count("other", "404")
    await api.call("GET", f"/gateways/{gateway_id(7)}")
    await api.client.get("/whatever-1")
    await api.client.get("/whatever-2")
    assert (count("GetGateway", "404"), count("other", "404")) == (before[0] + 1, before[1] + 2)


async def test_health_needs_no_token(api: Installation) -> None:
    """`/healthz` answers while the process lives."""
    response = await api.client.get("/healthz")
    assert (response.status_code, response.text) == (200, "ok\n")


async def test_a_caller_who_leaves_early_harms_nobody(api: Installation) -> None:
    """Over a real socket: a body that is never sent whole, a connection reset, and the next call is answered."""
    built = api.client._transport.app  # type: ignore[attr-defined]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with serving(built, listening):
            with socket.create_connection(("127.0.0.1", port)) as leaving:
                head = f"POST {BASE}/gateways HTTP/1.1\r\nhost: api\r\nauthorization: Bearer {ADMIN}\r\n"
                leaving.sendall(f"{head}content-length: 100\r\n\r\n{{".encode())
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=AUTHORIZED) as client:
                response = await client.head(BASE + "/gateways")
                assert (response.status_code, response.content) == (200, b"")
                assert (await client.get(BASE + "/gateways")).json() == {"items": []}
