"""HTTP/2 and gRPC as Envoy speaks them to us, byte for byte; each test names the rule of RFC 9113 or of gRPC."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_extproc.connection import Connection
from igw_ops.grpc import wire
from igw_ops.grpc.wire import GrpcStatus
from igw_ops.http2 import frames
from igw_ops.http2.connection import Agreed, Began, Content, Ended, Event, Passed, Reset
from igw_ops.http2.frames import BrokenError, Frame, Http2Error

BLOCK = b"\x82\xff\x00"
MIB = 1024 * 1024


def opened(streams: int = 2) -> Connection:
    """A connection past its beginning, nothing to send."""
    connection = Connection(streams)
    connection.receive(frames.PREFACE + frames.settings({}))
    connection.output()
    return connection


def begin(stream: int) -> bytes:
    """A request's headers; their content is never read."""
    return frames.frame(frames.HEADERS, frames.END_HEADERS, stream, BLOCK)


def data(stream: int, content: bytes, flags: int = 0) -> bytes:
    """A DATA frame."""
    return frames.frame(frames.DATA, flags, stream, content)


def sent(connection: Connection) -> list[Frame]:
    """The frames that the connection sends now."""
    return [frame for frame, _ in frames.split(connection.output())]


def test_begins_with_settings_before_the_client_speaks() -> None:
    """RFC 9113, 3.4: our SETTINGS come first. What comes is not held, so a stream's window never needs more."""
    first, second = sent(Connection(2))
    assert first.type == frames.SETTINGS
    assert frames.settings_values(first.payload) == {
        frames.MAX_CONCURRENT_STREAMS: 2,
        frames.INITIAL_WINDOW_SIZE: 2**31 - 1,
    }
    assert (second.type, second.stream) == (frames.WINDOW_UPDATE, 0)


def test_content_that_came_at_once_is_told_at_once() -> None:
    """A large body's frames are one content for as long as they stand together, and in their order."""
    connection = opened()
    connection.receive(begin(1) + begin(3))
    pieces = [bytes([kind]) * 16_384 for kind in b"abcde"]
    a, b, c, d, e = pieces
    come = [data(1, a), data(1, b), data(3, c), data(1, d), data(1, e, frames.END_STREAM)]
    told: list[Event] = [Content(1, a + b), Content(3, c), Content(1, d + e), Ended(1)]
    assert connection.receive(b"".join(come)) == told


def test_acknowledges_settings_and_answers_pings() -> None:
    """6.5.3 and 6.7: both are confirmed, confirmations are not."""
    connection = opened()
    connection.receive(frames.settings({}) + frames.frame(frames.SETTINGS, frames.ACK, 0))
    connection.receive(frames.frame(frames.PING, 0, 0, b"12345678"))
    connection.receive(frames.frame(frames.PING, frames.ACK, 0, b"87654321"))
    assert sent(connection) == [
        Frame(frames.SETTINGS, frames.ACK, 0, b""),
        Frame(frames.PING, frames.ACK, 0, b"12345678"),
    ]


CONVERSATION = (
    frames.PREFACE
    + frames.settings({4: 65_535})
    + begin(1)
    + data(1, wire.message(b"one")[:4])
    + frames.frame(frames.HEADERS, 0, 3, b"a block")
    + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 3, b" that goes on")
    + data(3, wire.message(b"two") + wire.message(b""))
    + data(1, b"\x02" + wire.message(b"one")[4:] + b"\x00\x00", frames.PADDED)
    + frames.frame(0xBE, 0, 0, b"an extension")
    + frames.reset(3, Http2Error.NO_ERROR)
    + data(1, wire.message(b"end"), frames.END_STREAM)
)
EVENTS: list[Event] = [
    Began(1, BLOCK, ended=False),
    Content(1, wire.message(b"one")[:4]),
    Began(3, b"a block that goes on", ended=False),
    Content(3, wire.message(b"two") + wire.message(b"")),
    Content(1, wire.message(b"one")[4:]),
    Reset(3),
    Content(1, wire.message(b"end")),
    Ended(1),
]


@given(st.lists(st.integers(0, len(CONVERSATION))))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    """TCP may cut anywhere."""
    connection = Connection(2)
    edges = [0, *sorted(cuts), len(CONVERSATION)]
    events: list[Event] = []
    for start, end in itertools.pairwise(edges):
        events += connection.receive(CONVERSATION[start:end])
    assert [event for event in events if event != Agreed()] == EVENTS


@given(st.binary())
def test_any_bytes_are_events_or_a_broken_connection(noise: bytes) -> None:
    """No bytes raise anything but BrokenError."""
    connection = opened()
    with contextlib.suppress(BrokenError):
        connection.receive(noise)
    list(frames.split(connection.output()))


def test_answers_share_one_stream() -> None:
    """gRPC: headers once, each message with its prefix, then trailers with OK that end the stream."""
    connection = opened()
    connection.receive(begin(1))
    connection.answer(1, b"first", last=False)
    assert connection.live == 1
    connection.answer(1, b"last", last=True)
    assert sent(connection) == [
        Frame(frames.HEADERS, frames.END_HEADERS, 1, wire.OK_HEADERS),
        Frame(frames.DATA, 0, 1, b"\x00\x00\x00\x00\x05first"),
        Frame(frames.DATA, 0, 1, b"\x00\x00\x00\x00\x04last"),
        Frame(frames.HEADERS, 0x5, 1, b"\x00\x0bgrpc-status\x010"),
    ]
    assert connection.live == 0


def test_an_answer_may_be_the_first_and_the_last() -> None:
    """What is refused by its headers is answered once, whatever the stream's number."""
    connection, stream = opened(), 0x0102_0305
    connection.receive(begin(stream))
    connection.answer(stream, b"only", last=True)
    assert sent(connection) == [
        Frame(frames.HEADERS, frames.END_HEADERS, stream, wire.OK_HEADERS),
        Frame(frames.DATA, 0, stream, b"\x00\x00\x00\x00\x04only"),
        Frame(frames.HEADERS, 0x5, stream, b"\x00\x0bgrpc-status\x010"),
    ]


def test_a_failure_says_why() -> None:
    """Trailers-only: status 200, the gRPC status and the message in the one block that ends the stream."""
    connection = opened()
    connection.receive(begin(1))
    connection.fail(1, GrpcStatus.INVALID_ARGUMENT, "why")
    block = b"\x00\x0bgrpc-status\x013" + b"\x00\x0cgrpc-message\x03why"
    assert sent(connection) == [Frame(frames.HEADERS, 0x5, 1, wire.OK_HEADERS + block)]


def test_a_failure_behind_an_answer() -> None:
    """The headers were sent; the trailers alone are left."""
    connection = opened()
    connection.receive(begin(1))
    connection.answer(1, b"first", last=False)
    connection.fail(1, GrpcStatus.CANCELLED, "")
    assert sent(connection)[2:] == [Frame(frames.HEADERS, 0x5, 1, b"\x00\x0bgrpc-status\x011")]


def test_a_stream_that_is_gone_is_not_answered() -> None:
    """RFC 9113, 5.1: nothing is sent on a closed stream, and what still comes on it is dropped."""
    connection = opened()
    events = connection.receive(begin(1) + data(1, b"x") + frames.reset(1, Http2Error.NO_ERROR))
    assert events == [Began(1, BLOCK, ended=False), Content(1, b"x"), Reset(1)]
    connection.answer(1, b"late", last=False)
    connection.answer(1, b"late", last=True)
    connection.fail(1, GrpcStatus.CANCELLED, "late")
    assert connection.receive(data(1, b"late")) == []
    assert sent(connection) == []
    assert connection._proceeding == set()


def test_what_came_is_given_back_at_once() -> None:
    """RFC 9113, 6.9: a body far larger than the connection's window comes in, on one stream."""
    connection, given = opened(), 0
    connection.receive(begin(1))
    for _ in range(64 * MIB // 16_384):
        connection.receive(data(1, b"x" * 16_384))
        given += sum(int.from_bytes(frame.payload, "big") for frame in sent(connection))
    assert given > 60 * MIB


def test_answers_wait_for_the_send_window_in_order() -> None:
    """RFC 9113, 6.9.1: no more DATA than the peer's window allows; what waits leaves in its order."""
    connection = opened(10_000)
    for stream in range(1, 20_000, 2):
        connection.receive(begin(stream))
        connection.answer(stream, b"seven..", last=True)
    first = [frame for frame in sent(connection) if frame.type == frames.DATA]
    assert len(first) == 65_535 // 12
    connection.receive(frames.window_update(0, 24))
    assert [f.stream for f in sent(connection) if f.type == frames.DATA] == [10_923, 10_925]


def test_a_peer_that_resets_what_waits() -> None:
    """A client that goes away while Envoy waits leaves nothing behind."""
    connection = opened()
    connection.receive(begin(1))
    connection.answer(1, b"first", last=False)
    connection.receive(frames.reset(1, Http2Error.CANCEL))
    connection.fail(1, GrpcStatus.CANCELLED, "")
    assert (connection.live, connection._proceeding) == (0, set())


def test_more_streams_than_allowed_are_refused() -> None:
    """5.1.2 and 8.7: REFUSED_STREAM, so that the peer knows nothing was done."""
    connection = opened()
    assert connection.receive(begin(1) + begin(3) + begin(5)) == [
        Began(1, BLOCK, ended=False),
        Began(3, BLOCK, ended=False),
        Passed(BLOCK),
    ]
    assert sent(connection) == [Frame(frames.RST_STREAM, 0, 5, b"\x00\x00\x00\x07")]


def test_unsent_answers_count_as_streams() -> None:
    """A peer that never opens its window cannot make us hold answers without end."""
    connection = opened()
    connection.receive(begin(1))
    for _ in range(70):
        connection.answer(1, b"x" * 1_000, last=False)
    connection.output()
    connection.receive(begin(3))
    assert sent(connection) == [Frame(frames.RST_STREAM, 0, 3, b"\x00\x00\x00\x07")]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (data(1, b""), Http2Error.PROTOCOL_ERROR),
        (data(0, b""), Http2Error.PROTOCOL_ERROR),
        (begin(2), Http2Error.PROTOCOL_ERROR),
        (begin(0), Http2Error.PROTOCOL_ERROR),
        (begin(1) + data(1, b"\x05", frames.PADDED), Http2Error.PROTOCOL_ERROR),
        (begin(1) + data(1, b"", frames.PADDED), Http2Error.PROTOCOL_ERROR),
        (frames.frame(frames.PUSH_PROMISE, 0, 1), Http2Error.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, b"x"), Http2Error.FRAME_SIZE_ERROR),
        (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", Http2Error.FRAME_SIZE_ERROR),
        (frames.settings({frames.INITIAL_WINDOW_SIZE: 100}), Http2Error.FLOW_CONTROL_ERROR),
    ],
)
def test_a_broken_connection_is_known(wrong: bytes, code: Http2Error) -> None:
    """5.4.1: the code is what GOAWAY tells."""
    connection = opened()
    with pytest.raises(BrokenError) as error:
        connection.receive(wrong)
    assert error.value.code is code


def test_http_1_is_not_spoken() -> None:
    """3.4: the first bytes must be the preface; a wrong one is known at its first byte."""
    with pytest.raises(BrokenError):
        Connection(2).receive(b"GET / HTTP/1.1\r\n")


def test_the_end_is_announced_before_it_comes() -> None:
    """6.8: first a GOAWAY that refuses nothing yet, then one with the last stream that was seen."""
    connection = opened()
    connection.announce_end()
    connection.receive(begin(1))
    connection.break_off(Http2Error.NO_ERROR)
    assert [frame.payload for frame in sent(connection)] == [
        b"\x7f\xff\xff\xff\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\x00\x00\x00\x00",
    ]
