"""The Connect shell over real HTTP: the rules of connectrpc.com/docs/protocol for unary calls.

What is called here only echoes; the operations themselves are in test_connect_grpc_rest.
"""

import asyncio
import base64
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo
from igw_api.connect import connect_routes
from igw_api.connect_wire import HTTP_STATUS, MESSAGE_BYTES, payload_of_body
from igw_api.failure import BadField, Code, Precondition, RefusedError, Resource
from igw_api.http_server import app
from igw_api.methods import Method
from igw_ops.listening import listening_socket
from igw_ops.server import serving
from igw_protos.coreweave.inference.v1alpha1.gateway_pb2 import (
    CreateGatewayRequest,
    CreateGatewayResponse,
    GetGatewayRequest,
    GetGatewayResponse,
    PathBasedRouting,
    WeightsAndBiasesAuth,
)

from tests.unit.api.echo import CALLER, EMPTY, Echo

SERVICE = "/coreweave.inference.v1alpha1.GatewayService"
CREATE, GET = f"{SERVICE}/CreateGateway", f"{SERVICE}/GetGateway"
JSON = {"content-type": "application/json"}
PROTO = {"content-type": "application/proto"}
BIG = {"gateway": {"spec": {"name": "n" * 4000}}}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[tuple[Echo, httpx.AsyncClient]]:
    """Serve the shell, and give a client of it that has a token and no opinion on compression."""
    echo, listening = Echo(), listening_socket("test", "127.0.0.1", 0)
    routes = connect_routes(echo.call, echo.authenticate)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(app(echo.call, echo.authenticate, routes), listening))
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        client.headers["authorization"] = "Bearer good"
        del client.headers["accept-encoding"]
        yield echo, await stack.enter_async_context(client)


@pytest.fixture
def echo(served: tuple[Echo, httpx.AsyncClient]) -> Echo:
    """Give what is behind the shell, as new."""
    return served[0].anew()


@pytest.fixture
def client(served: tuple[Echo, httpx.AsyncClient], echo: Echo) -> httpx.AsyncClient:
    """Give the client, with what is behind the shell as new."""
    del echo
    return served[1]


def failed(code: str, message: str) -> dict[str, Any]:
    """Give the error that a caller reads."""
    return {"code": code, "message": message, "details": []}


def unpadded(message: Message) -> str:
    """Give a detail's value."""
    return base64.b64encode(message.SerializeToString()).decode().rstrip("=")


async def test_connects_statuses_are_those_of_its_table() -> None:
    """Every code of ours has the status of the page's "Error Codes"; a failed precondition is no 412 here."""
    assert HTTP_STATUS == {
        Code.INVALID_ARGUMENT: 400,
        Code.UNAUTHENTICATED: 401,
        Code.PERMISSION_DENIED: 403,
        Code.NOT_FOUND: 404,
        Code.ALREADY_EXISTS: 409,
        Code.FAILED_PRECONDITION: 400,
        Code.RESOURCE_EXHAUSTED: 429,
        Code.UNIMPLEMENTED: 501,
        Code.INTERNAL: 500,
        Code.UNAVAILABLE: 503,
    }


async def test_json_is_the_document_itself(client: httpx.AsyncClient, echo: Echo) -> None:
    """A JSON call gives the operation what was sent, unknown fields too, and sends back its answer."""
    echo.answer = {"gateway": {"spec": {"name": "a", "zones": ["EU"]}}}

    answer = await client.post(CREATE, json={"name": "a", "weight": 0, "what": None})

    assert echo.asked == [(Method.CREATE_GATEWAY, CALLER, {"name": "a", "weight": 0, "what": None})]
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == echo.answer


async def test_binary_is_the_same_document_in_protobuf(client: httpx.AsyncClient, echo: Echo) -> None:
    """A binary call gives the operation the document with the zero values that were sent; back comes protobuf."""
    echo.answer = {
        "gateway": {"spec": {"name": "a", "pathBasedRouting": {}}, "status": {"status": "STATUS_READY"}}
    }
    request = CreateGatewayRequest(
        name="",
        zones=["EU"],
        weights_and_biases_auth=WeightsAndBiasesAuth(enable_rate_limiting=False),
        path_based_routing=PathBasedRouting(),
    )

    answer = await client.post(CREATE, content=request.SerializeToString(), headers=PROTO)

    assert echo.asked == [
        (
            Method.CREATE_GATEWAY,
            CALLER,
            {
                "name": "",
                "zones": ["EU"],
                "weightsAndBiasesAuth": {"enableRateLimiting": False},
                "pathBasedRouting": {},
            },
        )
    ]
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/proto")
    gateway = CreateGatewayResponse.FromString(answer.content).gateway
    assert (gateway.spec.name, gateway.spec.WhichOneof("routing"), gateway.status.status) == (
        "a",
        "path_based_routing",
        6,
    )


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ('Application/JSON;charset="UTF-8"', 200),
        ("application/json; charset=latin-1", 415),
        ("application/connect+json", 415),
        ("application/grpc", 415),
        ("text/plain", 415),
        ("", 415),
    ],
)
async def test_another_codec_is_unsupported(
    client: httpx.AsyncClient, content_type: str, status: int
) -> None:
    """A codec that the server does not have is 415, with those that it has in Accept-Post."""
    answer = await client.post(CREATE, content=b"{}", headers={"content-type": content_type})

    assert answer.status_code == status
    assert answer.headers.get("accept-post") == (
        "application/json, application/proto" if status == 415 else None
    )


@pytest.mark.parametrize("headers", [JSON, PROTO])
async def test_a_malformed_message_is_an_invalid_argument(
    client: httpx.AsyncClient, echo: Echo, headers: dict[str, str]
) -> None:
    """Bytes that are no message of the codec are the caller's mistake; the operation is not asked."""
    answer = await client.post(CREATE, content=b"\xff[", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
    assert echo.asked == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a": NaN}', b"[" * 100_000, b'{"a":' * 100_000])
async def test_a_json_message_is_an_object(client: httpx.AsyncClient, body: bytes) -> None:
    """What is not one JSON object is refused, however deep it is nested."""
    answer = await client.post(CREATE, content=body, headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


async def test_an_unknown_field_of_protobuf_is_ignored(client: httpx.AsyncClient, echo: Echo) -> None:
    """A newer client's field is no error on the wire of protobuf."""
    newer = GetGatewayRequest(id="x").SerializeToString() + b"\xaa\x06\x03abc"

    answer = await client.post(GET, content=newer, headers=PROTO)

    assert (answer.status_code, echo.asked[0][2]) == (200, {"id": "x"})


@pytest.mark.parametrize(("version", "status"), [("1", 200), ("2", 400), ("v1", 400)])
async def test_the_protocol_version_is_1_where_it_is_sent(
    client: httpx.AsyncClient, version: str, status: int
) -> None:
    """Connect-Protocol-Version may be left out, and nothing else than 1."""
    answer = await client.post(CREATE, json={}, headers={"connect-protocol-version": version})

    assert answer.status_code == status


@pytest.mark.parametrize("code", Code)
async def test_an_error_has_the_status_of_its_code_and_json_for_every_codec(
    client: httpx.AsyncClient, echo: Echo, code: Code
) -> None:
    """Errors are JSON, whatever the codec: code, message, and details with type, value and debug."""
    echo.failure = RefusedError(
        code,
        "no ü no",
        (
            BadField("name", "is required"),
            Resource("gateway", "gw-1", "not found"),
            BadField("zones", "must have exactly one zone"),
            Precondition("ATTACHED", "gateway/gw-1", "has deployments"),
        ),
    )

    answers = [
        await client.post(CREATE, json={}),
        await client.post(CREATE, content=b"", headers=PROTO),
    ]

    assert [(a.status_code, a.headers["content-type"], a.json()) for a in answers] == 2 * [
        (
            HTTP_STATUS[code],
            "application/json",
            {
                "code": code.value,
                "message": "no ü no",
                "details": [
                    {
                        "type": "google.rpc.BadRequest",
                        "value": unpadded(
                            BadRequest(
                                field_violations=[
                                    {"field": "name", "description": "is required"},
                                    {"field": "zones", "description": "must have exactly one zone"},
                                ]
                            )
                        ),
                        "debug": {
                            "fieldViolations": [
                                {"field": "name", "description": "is required"},
                                {"field": "zones", "description": "must have exactly one zone"},
                            ]
                        },
                    },
                    {
                        "type": "google.rpc.PreconditionFailure",
                        "value": unpadded(
                            PreconditionFailure(
                                violations=[
                                    {
                                        "type": "ATTACHED",
                                        "subject": "gateway/gw-1",
                                        "description": "has deployments",
                                    }
                                ]
                            )
                        ),
                        "debug": {
                            "violations": [
                                {
                                    "type": "ATTACHED",
                                    "subject": "gateway/gw-1",
                                    "description": "has deployments",
                                }
                            ]
                        },
                    },
                    {
                        "type": "google.rpc.ResourceInfo",
                        "value": unpadded(
                            ResourceInfo(
                                resource_type="gateway", resource_name="gw-1", description="not found"
                            )
                        ),
                        "debug": {
                            "resourceType": "gateway",
                            "resourceName": "gw-1",
                            "description": "not found",
                        },
                    },
                ],
            },
        )
    ]


async def test_a_stranger_is_told_so_before_anything_is_read(client: httpx.AsyncClient, echo: Echo) -> None:
    """Without a valid token the call ends there, with the challenge that HTTP asks for."""
    answer = await client.post(CREATE, content=b"[", headers={**JSON, "authorization": "Bearer bad"})

    assert answer.json() == failed("unauthenticated", "no valid token")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert echo.asked == []


async def test_every_authorization_header_is_seen(client: httpx.AsyncClient, echo: Echo) -> None:
    """Who authenticates decides what two tokens mean, so it gets both."""
    await client.post(
        CREATE, json={}, headers=[("authorization", "Bearer good"), ("authorization", "Bearer b")]
    )

    assert echo.tokens == [["Bearer good", "Bearer b"]]


async def test_a_mistake_of_ours_says_nothing_of_it(client: httpx.AsyncClient, echo: Echo) -> None:
    """An unexpected error is `internal`, and its text stays in our log."""
    echo.failure = TimeoutError("secret")

    answer = await client.post(CREATE, json={}, headers={"connect-timeout-ms": "60000"})

    request_id = answer.headers["x-request-id"]
    assert (answer.status_code, answer.json()) == (
        500,
        failed("internal", f"internal error; the log knows it as request {request_id}"),
    )


async def test_a_call_ends_when_its_caller_would_wait_no_longer(
    client: httpx.AsyncClient, echo: Echo
) -> None:
    """Connect-Timeout-Ms bounds the call: afterwards it is `deadline_exceeded`."""
    echo.seconds = 60

    answer = await client.post(CREATE, json={}, headers={"connect-timeout-ms": "20"})

    assert (answer.status_code, answer.json()) == (
        504,
        failed("deadline_exceeded", "the call took longer than connect-timeout-ms"),
    )


@pytest.mark.parametrize(
    ("milliseconds", "status"),
    [("9999999999", 200), ("99999999999", 400), ("-1", 400), ("1.5", 400), ("", 400)],
)
async def test_a_timeout_is_at_most_ten_digits(
    client: httpx.AsyncClient, milliseconds: str, status: int
) -> None:
    """Connect-Timeout-Ms is a whole number as text of at most 10 digits."""
    answer = await client.post(CREATE, json={}, headers={"connect-timeout-ms": milliseconds})

    assert answer.status_code == status


async def test_a_request_may_be_compressed(client: httpx.AsyncClient, echo: Echo) -> None:
    """Gzip is read, in several members too; `identity` is nothing; nothing is never inflated."""
    for body, encoding in (
        (gzip.compress(b'{"name": "a"}', mtime=0), "gzip"),
        (gzip.compress(b'{"name": ', mtime=0) + gzip.compress(b'"a"}', mtime=0), "GZIP"),
        (b'{"name": "a"}', "identity"),
    ):
        await client.post(CREATE, content=body, headers={**JSON, "content-encoding": encoding})
    empty = await client.post(CREATE, content=b"", headers={**PROTO, "content-encoding": "gzip"})

    assert [document for _, _, document in echo.asked] == [*3 * [{"name": "a"}], {}]
    assert empty.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        gzip.compress(b"{}", mtime=0)[:-9],
        gzip.compress(b"{}", mtime=0) + b"{}",
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(b"{}", mtime=0) + 16 * gzip.compress(b"", mtime=0),
    ],
)
async def test_broken_gzip_is_an_invalid_argument(client: httpx.AsyncClient, body: bytes) -> None:
    """What does not inflate to its end is refused, and what has more than 16 members."""
    answer = await client.post(CREATE, content=body, headers={**JSON, "content-encoding": "gzip"})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


async def test_an_unknown_compression_is_unimplemented(client: httpx.AsyncClient) -> None:
    """The answer lists the compressions that there are."""
    answer = await client.post(CREATE, content=b"{}", headers={**JSON, "content-encoding": "br"})

    assert (answer.status_code, answer.json()) == (
        501,
        failed("unimplemented", "unknown compression; supported are gzip, identity"),
    )


async def test_a_request_is_bounded_also_when_it_is_inflated(client: httpx.AsyncClient, echo: Echo) -> None:
    """A request over the bound is refused for good: trying again does not help, so it is no 429."""
    fits = b'{"name": "' + b"n" * (MESSAGE_BYTES - 12) + b'"}'
    over = fits + b" "
    packed = {**JSON, "content-encoding": "gzip"}

    answers = [
        await client.post(CREATE, content=fits, headers=JSON),
        await client.post(CREATE, content=gzip.compress(fits, mtime=0), headers=packed),
        await client.post(CREATE, content=over, headers=JSON),
        await client.post(CREATE, content=gzip.compress(over, mtime=0), headers=packed),
        await client.post(CREATE, content=gzip.compress(b" " * 50 * MESSAGE_BYTES, mtime=0), headers=packed),
    ]

    assert [(answer.status_code, answer.json()) for answer in answers] == [
        *2 * [(200, EMPTY)],
        *3 * [(400, failed("invalid_argument", "the request must have at most 1048576 bytes"))],
    ]
    assert len(echo.asked) == 2


async def test_a_request_that_does_not_end_is_refused_at_the_bound(client: httpx.AsyncClient) -> None:
    """Nobody waits for the rest of a request that is too large already."""
    url = client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {CREATE} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer good\r\ncontent-type: application/json\r\n"
    size = MESSAGE_BYTES + 1
    writer.write(f"{head}transfer-encoding: chunked\r\n\r\n{size:x}\r\n".encode() + b" " * size)
    try:
        async with asyncio.timeout(5):
            assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
    finally:
        writer.close()


async def test_inflating_takes_no_more_memory_than_the_bound() -> None:
    """A few kilobytes of gzip can be gigabytes: no more than the bound is ever made of them."""
    bomb = gzip.compress(b" " * 64 * MESSAGE_BYTES, mtime=0)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError):
            payload_of_body(bomb, "gzip")
        assert tracemalloc.get_traced_memory()[1] < 4 * MESSAGE_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("accept", "sent", "used"),
    [
        ("gzip", None, "gzip"),
        ("br, gzip;q=0.5", None, "gzip"),
        ("gzip;q=0", None, None),
        ("gzip;q=0.000", None, None),
        ("br", None, None),
        ("", "gzip", None),
        (None, None, None),
        (None, "gzip", "gzip"),
    ],
)
async def test_an_answer_is_compressed_for_those_who_read_it(
    client: httpx.AsyncClient, echo: Echo, accept: str | None, sent: str | None, used: str | None
) -> None:
    """A caller that does not say what it reads, reads what it wrote; identity suits everybody."""
    echo.answer = BIG
    headers = {"accept-encoding": accept, "content-encoding": sent}
    body = gzip.compress(b"{}", mtime=0) if sent == "gzip" else b"{}"

    answer = await client.post(
        CREATE,
        content=body,
        headers=JSON | {key: value for key, value in headers.items() if value is not None},
    )

    assert (answer.headers.get("content-encoding"), answer.headers["vary"]) == (used, "accept-encoding")
    assert answer.json() == BIG


async def test_a_small_answer_is_not_compressed(client: httpx.AsyncClient) -> None:
    """Gzip would make it larger."""
    answer = await client.post(CREATE, json={}, headers={"accept-encoding": "gzip"})

    assert "content-encoding" not in answer.headers


def encoded(data: bytes) -> str:
    """Give a message as a query has it."""
    return base64.urlsafe_b64encode(data).decode()


REQUEST = GetGatewayRequest(id="gw-ÿþ").SerializeToString()
PLAIN = quote(json.dumps({"id": "gw-ÿþ"}, ensure_ascii=False))


@pytest.mark.parametrize(
    "query",
    [
        f"connect=v1&encoding=json&message={PLAIN}",
        f"message={PLAIN}&encoding=json&base64=0&more=1",
        f"base64=1&encoding=proto&message={encoded(REQUEST).rstrip('=')}",
        f"base64=1&encoding=proto&message={quote(encoded(REQUEST))}",
        f"compression=gzip&base64=1&encoding=proto&message={encoded(gzip.compress(REQUEST, mtime=0)).rstrip('=')}",
    ],
)
async def test_what_only_reads_may_be_got(client: httpx.AsyncClient, echo: Echo, query: str) -> None:
    """A method without side effects takes a GET, with its message in the query, in any order."""
    answer = await client.get(f"{GET}?{query}")

    assert echo.asked == [(Method.GET_GATEWAY, CALLER, {"id": "gw-ÿþ"})]
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    if "encoding=proto" in query:
        assert GetGatewayResponse.FromString(answer.content).HasField("gateway")
    else:
        assert answer.json() == EMPTY


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [
        ("encoding=json", 400, failed("invalid_argument", "the query has no message")),
        (
            "encoding=json&message={}&connect=v2",
            400,
            failed("invalid_argument", "connect must be v1"),
        ),
        (
            "encoding=proto&message=YW*Jj&base64=1",
            400,
            failed("invalid_argument", "the query's message is not URL-safe base64"),
        ),
        (
            "encoding=proto&message=%C3%BF&base64=1",
            400,
            failed("invalid_argument", "the query's message is not URL-safe base64"),
        ),
        ("encoding=text&message={}", 415, None),
        ("message={}", 415, None),
    ],
)
async def test_a_query_that_is_not_connects_is_refused(
    client: httpx.AsyncClient, query: str, status: int, body: Any
) -> None:
    """A GET names its codec, has a message, and no other version than v1."""
    answer = await client.get(f"{GET}?{query}")

    assert (answer.status_code, answer.json() if answer.content else None) == (status, body)


async def test_what_writes_cannot_be_got(client: httpx.AsyncClient, echo: Echo) -> None:
    """A GET must change nothing, so a method that writes takes none."""
    answer = await client.get(f"{CREATE}?encoding=json&message={{}}")

    assert (answer.status_code, answer.headers["allow"], echo.asked) == (405, "POST", [])


@pytest.mark.parametrize("path", [f"{SERVICE}/Nothing", f"{SERVICE}s/GetGateway", f"{SERVICE}/getGateway"])
async def test_an_unknown_method_is_unimplemented(client: httpx.AsyncClient, path: str) -> None:
    """A client reads that it asked for a method that this server does not have; names are case-sensitive."""
    answer = await client.post(path, json={})

    assert (answer.status_code, answer.json()) == (501, failed("unimplemented", "there is no such method"))
