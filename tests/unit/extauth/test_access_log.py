"""Envoy's access log: what entries say, and the stream over a real gRPC connection."""

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from igw_extauth.answer import header_value
from igw_extauth.keeper import Ended, Event, Running
from igw_extauth.settings import Settings
from igw_extauth.wire.access_log import METHOD, MOST_TOKENS, event, events
from igw_extauth.wire.front import Front, listening

from tests.unit.extauth.scene import Counter, until

END, PERIODIC = AccessLogType.DownstreamEnd, AccessLogType.DownstreamPeriodic


def entry(
    kind: int = END,
    lease: str | float | None = "lease-1",
    project: str | None = "team/p",
    **usage: str | float,
) -> HTTPAccessLogEntry:
    """Give an entry as Envoy writes it."""
    made = HTTPAccessLogEntry()
    common = made.common_properties
    common.access_log_type = kind  # type: ignore[assignment] # a number of the enum
    if lease is not None:
        common.metadata.filter_metadata["envoy.filters.http.ext_authz"].update({"x-igw-lease": lease})
    if usage:
        common.metadata.filter_metadata["igw.usage"].update(usage)
    if project is not None:
        made.request.request_headers["x-igw-project"] = header_value(project).decode()
    return made


def logged_as(project: str) -> HTTPAccessLogEntry:
    """Give an entry whose project stands there as given."""
    made = entry()
    made.request.request_headers["x-igw-project"] = project
    return made


def said(*entries: HTTPAccessLogEntry) -> StreamAccessLogsMessage:
    """Give a message with entries."""
    message = StreamAccessLogsMessage()
    message.http_logs.log_entry.extend(entries)
    return message


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (entry(PERIODIC), Running("team/p", "lease-1")),
        (entry(PERIODIC, total_tokens=5), Running("team/p", "lease-1")),
        (entry(), Ended("team/p", "lease-1")),
        (entry(total_tokens=5), Ended("team/p", "lease-1", 5)),
        (entry(total_tokens=5, prompt_tokens=1), Ended("team/p", "lease-1", 5)),
        (entry(prompt_tokens=2, completion_tokens=3), Ended("team/p", "lease-1", 5)),
        (entry(prompt_tokens=2), Ended("team/p", "lease-1", 2)),
        (entry(prompt_tokens=2, events=9), Ended("team/p", "lease-1", 2)),
        (entry(events=9), Ended("team/p", "lease-1", 9)),
        (entry(total_tokens=MOST_TOKENS), Ended("team/p", "lease-1", MOST_TOKENS)),
        (entry(total_tokens=2.0 * MOST_TOKENS), Ended("team/p", "lease-1")),
        (entry(total_tokens=-1), Ended("team/p", "lease-1")),
        (entry(total_tokens=math.nan), Ended("team/p", "lease-1")),
        (entry(total_tokens=math.inf), Ended("team/p", "lease-1")),
        (entry(total_tokens="many"), Ended("team/p", "lease-1")),
        (entry(prompt_tokens=-2, completion_tokens=3), Ended("team/p", "lease-1", 3)),
        (entry(project="a%2Fb/é \ud800,x"), Ended("a%2Fb/é \ud800,x", "lease-1")),
        (
            entry(project="\U0001f600" * 256 + "/inference"),
            Ended("\U0001f600" * 256 + "/inference", "lease-1"),
        ),
        (logged_as("team/%ff"), None),
        (entry(lease=None), None),
        (entry(lease=""), None),
        (entry(lease=5), None),
        (entry(lease="x" * 5000), None),
        (entry(project=None), None),
        (entry(project=""), None),
        (entry(project="x" * 5000), None),
        (entry(AccessLogType.DownstreamStart), None),
        (entry(AccessLogType.UpstreamEnd), None),
        (entry(AccessLogType.NotSet), None),
        (entry(99), None),
        (HTTPAccessLogEntry(), None),
    ],
)
def test_what_an_entry_says(given: HTTPAccessLogEntry, read: Event | None) -> None:
    """A request that holds a slot goes on or is over, with what it used; others say nothing."""
    assert event(given) == read


def test_entries_keep_their_order() -> None:
    """Those that say nothing are left out."""
    message = said(entry(PERIODIC), entry(lease=None), entry(lease="lease-2"), entry())
    assert events(message) == [
        Running("team/p", "lease-1"),
        Ended("team/p", "lease-2"),
        Ended("team/p", "lease-1"),
    ]
    assert events(StreamAccessLogsMessage()) == []


@dataclass(frozen=True)
class Logging:
    """A server, its keeper, and an Envoy that logs."""

    keeper: Counter
    channel: grpc.aio.Channel

    def stream(self, method: str = METHOD) -> grpc.aio.StreamUnaryCall:
        """Open a stream of messages as bytes."""
        return self.channel.stream_unary(
            method, request_serializer=bytes, response_deserializer=StreamAccessLogsResponse.FromString
        )()


@pytest_asyncio.fixture
async def logging() -> AsyncIterator[Logging]:
    """Run the servers."""
    keeper = Counter()
    with listening(Settings(http_port=0, grpc_port=0)) as sockets:
        front = Front(keeper, b"0123456789abcdef", 10)
        await front.start(sockets)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{sockets.grpc.getsockname()[1]}") as channel:
            yield Logging(keeper, channel)
            await front.stop(1)


async def test_a_stream_is_read_as_it_comes_and_answered_at_its_end(logging: Logging) -> None:
    """Envoy's stream is never answered before it ends."""
    call = logging.stream()
    await call.write(said(entry(PERIODIC)).SerializeToString())
    await until(lambda: logging.keeper.reported)
    await call.write(said(entry(total_tokens=7)).SerializeToString())
    await call.write(said(entry(lease=None)).SerializeToString())
    await until(lambda: len(logging.keeper.reported) == 2)
    assert not call.done()
    await call.done_writing()
    assert await call == StreamAccessLogsResponse()
    assert logging.keeper.reported == [Running("team/p", "lease-1"), Ended("team/p", "lease-1", 7)]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (b"\0" * 300_000, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["no message", "too long"],
)
async def test_what_is_no_message_ends_its_stream(
    logging: Logging, message: bytes, code: grpc.StatusCode
) -> None:
    """Others go on."""
    other, call = logging.stream(), logging.stream()
    await call.write(message)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    assert failure.value.code() is code
    await other.write(said(entry()).SerializeToString())
    await until(lambda: logging.keeper.reported)


async def test_there_is_no_other_method(logging: Logging) -> None:
    """A wrong name is told apart from silence."""
    call = logging.stream("/envoy.service.accesslog.v3.AccessLogService/Other")
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
