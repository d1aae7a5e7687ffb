"""The gRPC shell over real gRPC: messages, statuses and their details, deadlines and bounds.

What is called here only echoes; the operations themselves are in test_connect_grpc_rest.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import grpc.aio
import pytest
import pytest_asyncio
import structlog
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure, ResourceInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis.strategies import binary, from_regex, sampled_from
from igw_api.failure import BadField, Code, Precondition, RefusedError, Resource
from igw_api.grpc_shell import STATUS, serve
from igw_api.messages import PROCEDURES, Procedure, document
from igw_api.methods import Method
from igw_ops.listening import CannotListenError
from igw_protos.coreweave.inference.v1alpha1.deployment_pb2 import (
    CreateDeploymentRequest,
    ListDeploymentsRequest,
    Runtime,
    Traffic,
)
from igw_protos.coreweave.inference.v1alpha1.gateway_pb2 import GetGatewayRequest, GetGatewayResponse
from prometheus_client import REGISTRY

from tests.unit.api.echo import CALLER, EMPTY, Echo

PACKAGE = "/coreweave.inference.v1alpha1"
GET = f"{PACKAGE}.GatewayService/GetGateway"
GOOD = (("authorization", "Bearer good"),)


@pytest.fixture
def echo() -> Echo:
    """Give what is behind the shell."""
    return Echo()


@pytest_asyncio.fixture
async def channel(echo: Echo) -> AsyncIterator[grpc.aio.Channel]:
    """Serve the shell on a free port, and give a channel to it."""
    server = await serve(echo.call, echo.authenticate, "127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    await server.stop(grace=0)


async def ask(channel: grpc.aio.Channel, path: str, request: bytes, **options: Any) -> bytes:
    """Call a method with a good token, bytes in and out."""
    answer: bytes = await channel.unary_unary(path)(request, **{"metadata": GOOD, **options})
    return answer


async def refused(
    channel: grpc.aio.Channel, path: str, request: bytes, **options: Any
) -> grpc.aio.AioRpcError:
    """Call a method that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await ask(channel, path, request, **options)
    return raised.value


def status_details(error: grpc.aio.AioRpcError) -> Status:
    """Give what clients read from the metadata."""
    return Status.FromString(status_bytes(error))


def status_bytes(error: grpc.aio.AioRpcError) -> bytes:
    metadata = error.trailing_metadata()
    assert metadata is not None
    return bytes(metadata["grpc-status-details-bin"])


def packed(message: Message) -> Packed:
    """Give a detail as a status has it."""
    result = Packed()
    result.Pack(message)
    return result


async def test_a_call_is_the_document_in_protobuf(channel: grpc.aio.Channel, echo: Echo) -> None:
    """The operation gets who calls and what was sent, zero values too; its answer goes back as protobuf."""
    echo.answer = {"deployment": {"spec": {"name": "a", "traffic": {"weight": 0}}}}
    request = CreateDeploymentRequest(
        name="", disabled=False, traffic=Traffic(weight=0), runtime=Runtime(engine_config={"a": ""})
    )

    answer = await ask(channel, f"{PACKAGE}.DeploymentService/CreateDeployment", request.SerializeToString())

    assert echo.asked == [
        (
            Method.CREATE_DEPLOYMENT,
            CALLER,
            {
                "name": "",
                "disabled": False,
                "traffic": {"weight": 0},
                "runtime": {"engineConfig": {"a": ""}},
            },
        )
    ]
    # Deployment.spec, then its name and its traffic with the weight that is zero.
    assert answer == bytes.fromhex("0a090a071201614a020800")


async def test_every_authorization_value_is_seen(channel: grpc.aio.Channel, echo: Echo) -> None:
    """Who authenticates decides what no token and what two mean, so it gets them as they are."""
    for metadata in ((), (*GOOD, ("authorization", "Bearer b"))):
        error = await refused(channel, GET, b"", metadata=metadata)
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAUTHENTICATED, "no valid token")

    assert echo.tokens == [[], ["Bearer good", "Bearer b"]]
    assert echo.asked == []


@pytest.mark.parametrize("code", Code)
async def test_a_refusal_is_a_status_with_details(channel: grpc.aio.Channel, echo: Echo, code: Code) -> None:
    """Code and message are gRPC's own; google.rpc.Status in the metadata repeats them and has the details."""
    echo.failure = RefusedError(
        code,
        "nö\n",
        (
            Resource("gateway", "gw-1", "not found"),
            BadField("name", "is required"),
            Precondition("ATTACHED", "gateway/gw-1", "has deployments"),
            BadField("zones", "must have exactly one zone"),
        ),
    )

    error = await refused(channel, GET, b"")

    assert (error.code().name, error.details()) == (code.name, "nö\n")
    assert status_details(error) == Status(
        code=error.code().value[0],
        message="nö\n",
        details=[
            packed(
                BadRequest(
                    field_violations=[
                        {"field": "name", "description": "is required"},
                        {"field": "zones", "description": "must have exactly one zone"},
                    ]
                )
            ),
            packed(
                PreconditionFailure(
                    violations=[
                        {"type": "ATTACHED", "subject": "gateway/gw-1", "description": "has deployments"}
                    ]
                )
            ),
            packed(ResourceInfo(resource_type="gateway", resource_name="gw-1", description="not found")),
        ],
    )


def test_every_code_has_its_status() -> None:
    """The table is total, and names are the same."""
    assert {code: status.name for code, status in STATUS.items()} == {code: code.name for code in Code}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("n" * 100_000, "n" * 499 + "…"),
        ("ö€" * 100_000, "ö€" * 199 + "ö…"),
        ("🙂" * 100_000, "🙂" * 249 + "…"),
    ],
    ids=["narrow", "wide", "widest"],
)
async def test_a_refusal_fits_in_what_clients_take(
    channel: grpc.aio.Channel, echo: Echo, text: str, told: str
) -> None:
    """Over 8 KiB of metadata a client may drop it, and the status with it: long texts and lists are cut short."""
    fields = tuple(BadField(f"zones[{number}]", "must not be empty") for number in range(5000))
    echo.failure = RefusedError(Code.INVALID_ARGUMENT, text, fields)

    error = await refused(channel, GET, b"")

    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, told)
    assert len(quote(error.details() or "")) + len(status_bytes(error)) < 7000
    bad = BadRequest()
    status_details(error).details[0].Unpack(bad)
    assert [violation.field for violation in bad.field_violations][:3] == [
        "zones[0]",
        "zones[1]",
        "zones[2]",
    ]


@pytest.mark.parametrize("text", ["n" * 100_000, "🙂" * 100_000])
async def test_one_detail_that_is_too_long_is_left_out(
    channel: grpc.aio.Channel, echo: Echo, text: str
) -> None:
    """The status matters more than its details."""
    echo.failure = RefusedError(Code.NOT_FOUND, "gone", (Resource("gateway", text),))

    error = await refused(channel, GET, b"")

    assert (error.code(), status_details(error)) == (
        grpc.StatusCode.NOT_FOUND,
        Status(code=5, message="gone"),
    )


@pytest.mark.parametrize(
    ("method", "request_bytes"),
    [
        ("GatewayService/GetGateway", b"\xff"),
        ("GatewayService/GetGateway", b"\x0a\x02\xff\xfe"),
        *(
            (
                "DeploymentService/ListDeployments",
                ListDeploymentsRequest(updated_after=moment).SerializeToString(),
            )
            for moment in (
                Timestamp(seconds=253402300800),
                Timestamp(seconds=-(2**63)),
                Timestamp(nanos=-1),
                Timestamp(nanos=10**9),
            )
        ),
    ],
)
async def test_a_malformed_message_is_an_invalid_argument(
    channel: grpc.aio.Channel, echo: Echo, method: str, request_bytes: bytes
) -> None:
    """Bytes that are no message, and values that JSON has no word for, are the caller's mistake."""
    error = await refused(channel, f"{PACKAGE}.{method}", request_bytes)

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (error.details() or "").startswith("the body is not a valid coreweave.inference.v1alpha1.")
    assert echo.asked == []


@given(
    procedure=sampled_from(PROCEDURES),
    data=binary() | from_regex(rb"([\x0a\x12\x1a\x22\x2a][\x00-\x06].{0,6})+"),
)
def test_any_bytes_are_a_document_or_an_invalid_argument(procedure: Procedure, data: bytes) -> None:
    """Whatever comes over the wire, nothing else happens."""
    outcome: object
    try:
        outcome = document(procedure, data)
    except RefusedError as refused:
        outcome = refused.code

    assert isinstance(outcome, dict) or outcome is Code.INVALID_ARGUMENT


async def test_unknown_fields_are_ignored(channel: grpc.aio.Channel, echo: Echo) -> None:
    """A newer client's field is no error on the wire of protobuf."""
    answer = await ask(channel, GET, GetGatewayRequest(id="x").SerializeToString() + b"\xaa\x06\x03abc")

    assert echo.asked == [(Method.GET_GATEWAY, CALLER, {"id": "x"})]
    assert GetGatewayResponse.FromString(answer).HasField("gateway")


@pytest.mark.parametrize(
    ("failure", "answer"), [(ValueError("secret"), EMPTY), (None, {"gateway": {"secret": 1}})]
)
async def test_a_mistake_of_ours_says_nothing_of_it(
    channel: grpc.aio.Channel, echo: Echo, failure: Exception | None, answer: dict[str, Any]
) -> None:
    """An unexpected error, and an answer that the .proto has no place for, are INTERNAL; the text stays in our log."""
    echo.failure, echo.answer = failure, answer

    error = await refused(channel, GET, b"")

    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")


async def test_a_request_is_bounded(channel: grpc.aio.Channel, echo: Echo) -> None:
    """A request over 1 MiB is refused for good, before it is read: trying again does not help."""
    error = await refused(channel, GET, b"\x00" * (1024 * 1024 + 1))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "the request must have at most 1048576 bytes",
    )
    assert echo.tokens == []


async def test_an_answer_is_not_bounded(channel: grpc.aio.Channel, echo: Echo) -> None:
    """Lists have no pages, so an answer may be large for a client that allows it."""
    echo.answer = {"gateway": {"spec": {"zones": ["z" * 1000] * 3000}}}

    answer = await ask(channel, GET, b"")

    assert len(GetGatewayResponse.FromString(answer).gateway.spec.zones) == 3000


async def test_a_deadline_ends_the_call_at_both_ends(echo: Echo) -> None:
    """After its deadline the operation is cancelled, not run for nobody."""
    ended = asyncio.Event()
    sleep = echo.call

    async def call(*asked: Any) -> dict[str, Any]:
        try:
            return await sleep(*asked)
        finally:
            ended.set()

    echo.seconds = 60
    server = await serve(call, echo.authenticate, "127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as other:
        error = await refused(other, GET, b"", timeout=1)
        async with asyncio.timeout(5):
            await ended.wait()
    await server.stop(grace=0)

    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("path", [f"{PACKAGE}.GatewayService/Nothing", f"{PACKAGE}.Gateways/GetGateway"])
async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel, path: str) -> None:
    """A client reads that it asked for a method that this server does not have."""
    error = await refused(channel, path, b"")

    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_calls_are_logged_and_counted(channel: grpc.aio.Channel, echo: Echo) -> None:
    """One line and one count a call, those that fail and those that their callers leave too; nothing of the content."""
    before = {name: calls(name) for name in ("OK", "NOT_FOUND", "CANCELLED")}
    with structlog.testing.capture_logs() as lines:
        await ask(channel, GET, b"")
        echo.failure = RefusedError(Code.NOT_FOUND, "gone")
        await refused(channel, GET, b"")
        echo.seconds = 60
        left = channel.unary_unary(GET)(b"", metadata=GOOD)
        async with asyncio.timeout(10):
            while len(echo.asked) < 3:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)
            left.cancel()
            while len(lines) < 3:  # noqa: ASYNC110 - nothing tells of a line
                await asyncio.sleep(0.01)

    assert [{**line, "milliseconds": 0} for line in lines] == [
        {
            "event": "call",
            "log_level": "info",
            "transport": "grpc",
            "method": "GetGateway",
            "status": status,
            "milliseconds": 0,
        }
        for status in ("OK", "NOT_FOUND", "CANCELLED")
    ]
    assert {name: calls(name) - count for name, count in before.items()} == dict.fromkeys(before, 1)


def calls(status: str) -> float:
    """Give how many calls ended so."""
    labels = {"method": "GetGateway", "code": status}
    return REGISTRY.get_sample_value("igw_api_calls_total", labels) or 0


async def test_a_taken_port_is_an_error_that_names_it(echo: Echo) -> None:
    """Two servers never share a port."""
    server = await serve(echo.call, echo.authenticate, "127.0.0.1", 0)
    try:
        with pytest.raises(CannotListenError, match=f"127.0.0.1:{server.port} \\(api, gRPC\\)"):
            await serve(echo.call, echo.authenticate, "127.0.0.1", server.port)
    finally:
        await server.stop(grace=0)
