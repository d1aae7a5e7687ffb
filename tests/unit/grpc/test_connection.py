"""One connection of calls, byte for byte; each test names the rule of gRPC or of RFC 9113."""

import itertools

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st
from igw_ops.grpc.connection import (
    WINDOW_BYTES,
    Arrived,
    Begun,
    Event,
    HalfClosed,
    Large,
    Left,
    Opened,
    Received,
)
from igw_ops.grpc.connection import Connection as Conn
from igw_ops.grpc.wire import GrpcStatus
from igw_ops.http2 import frames
from igw_ops.http2.frames import BrokenError, Frame, Http2Error

from tests.unit.grpc.talk import (
    AGREED,
    BEGINNING,
    PATH,
    begin,
    block,
    content,
    data,
    headers,
    kinds,
    message,
    opened,
    sent,
)

ENDS = frames.END_STREAM


def test_begins_with_settings_before_the_client_speaks() -> None:
    """3.4: our SETTINGS come first; each stream's window is the standard's, the connection's is wider."""
    first, second = sent(Conn(7, 1))
    assert frames.settings_values(first.payload) == {
        frames.HEADER_TABLE_SIZE: 0,
        frames.MAX_CONCURRENT_STREAMS: 7,
        frames.MAX_HEADER_LIST_SIZE: 65_536,
    }
    assert (second.type, second.stream, second.payload) == (
        frames.WINDOW_UPDATE,
        0,
        WINDOW_BYTES.to_bytes(4, "big"),
    )


ENCODER = Encoder()
CONVERSATION = (
    BEGINNING
    + begin(1, encoder=ENCODER)
    + data(1, message(b"one"))
    + begin(3, path="/other", encoder=ENCODER)
    + data(3, message(b"two") + message(b"")[:3])
    + begin(5, content_type="text/plain", encoder=ENCODER)
    + frames.frame(frames.PING, 0, 0, b"12345678")
    + AGREED
    + data(3, message(b"")[3:] + message(b"three"))
    + data(1, b"\x03" + message(b"padded") + b"...", frames.PADDED)
    + begin(7, ENDS, content_type="application/grpc+proto")
    + frames.reset(3, Http2Error.CANCEL)
    + data(3, message(b"late"))
    + data(1, message(b"last"), ENDS)
    + begin(9)
    + frames.frame(frames.HEADERS, frames.END_HEADERS | ENDS, 9, block())
)
EVENTS: list[Event] = [
    Opened(1, PATH),
    Received(1, b"one"),
    Opened(3, "/other"),
    Received(3, b"two"),
    Received(3, b""),
    Received(3, b"three"),
    Received(1, b"padded"),
    Opened(7, PATH),
    HalfClosed(7),
    Left(3),
    Received(1, b"last"),
    HalfClosed(1),
    Opened(9, PATH),
    HalfClosed(9),
]


def settled(events: list[Event]) -> list[Event]:
    """The events that do not depend on the packets: without those that say that a message is on its way."""
    return [event for event in events if not isinstance(event, Begun | Arrived)]


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=20))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    """TCP may cut anywhere."""
    connection = Conn(4, 100)
    events: list[Event] = []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(CONVERSATION)]):
        events += connection.receive(CONVERSATION[start:end])
    assert [(type(event), event) for event in settled(events)] == [(type(event), event) for event in EVENTS]
    assert connection.held == 0


def test_what_is_not_grpc_is_told_so() -> None:
    """Content-Type: without it a server answers 415, so that no other client takes it for an answer."""
    connection = opened()
    assert connection.receive(begin(1, content_type="text/plain")) == []
    answer, rest = sent(connection)
    assert (answer.flags & ENDS, headers(answer)) == (ENDS, {":status": "415"})
    assert (rest.type, rest.payload) == (frames.RST_STREAM, bytes(4))


def test_a_call_without_a_path_is_malformed() -> None:
    """8.3.1 of RFC 9113: it is reset."""
    connection = opened()
    assert connection.receive(begin(1, path="")) == []
    assert sent(connection) == [Frame(frames.RST_STREAM, 0, 1, b"\0\0\0\1")]


def test_messages_and_an_end() -> None:
    """Response: headers, messages, trailers; the client had half-closed, so nothing is reset."""
    connection = opened()
    connection.receive(begin(1, ENDS))
    connection.send(1, [b"part, ", b"", b"and part"])
    connection.send(1, [])
    connection.end(1, GrpcStatus.NOT_FOUND, "50 % of ñ")
    connection.end(1, GrpcStatus.OK)
    connection.send(1, [b"too late"])
    first, one, two, last = sent(connection)
    assert (first.flags, headers(first)["content-type"]) == (frames.END_HEADERS, "application/grpc")
    assert [one.payload, two.payload] == [message(b"part, and part"), message(b"")]
    assert last.flags == frames.END_HEADERS | ENDS
    assert headers(last) == {"grpc-status": "5", "grpc-message": "50 %25 of %C3%B1"}


def test_trailers_only() -> None:
    """An answer without a message is one block; a client that still sends is told to stop (8.1 of RFC 9113)."""
    connection = opened()
    connection.receive(begin(1))
    connection.end(1, GrpcStatus.UNIMPLEMENTED)
    only, stop = sent(connection)
    assert (headers(only)[":status"], headers(only)["grpc-status"]) == ("200", "12")
    assert stop == Frame(frames.RST_STREAM, 0, 1, bytes(4))


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (b"\x01\x00\x00\x00\x03zip", GrpcStatus.UNIMPLEMENTED),
        (message(b"x" * 200_001)[:5], GrpcStatus.RESOURCE_EXHAUSTED),
    ],
)
def test_a_refused_message_ends_its_stream_alone(wrong: bytes, status: GrpcStatus) -> None:
    """What came before it counts, and other streams go on."""
    connection = opened()
    connection.receive(begin(1) + begin(3))
    events = connection.receive(data(1, message(b"good") + wrong) + data(1, b"more") + data(3, message(b"3")))
    assert events == [Received(1, b"good"), Left(1), Received(3, b"3")]
    assert headers(sent(connection)[0])["grpc-status"] == str(status.value)


def test_half_closed_in_the_middle_of_a_message() -> None:
    """A message that never comes whole is an error, not an end."""
    connection = opened()
    events = connection.receive(begin(1) + data(1, message(b"good")[:-1], ENDS))
    assert kinds(events) == [("Opened", 1), ("Left", 1)]
    assert headers(sent(connection)[0])["grpc-status"] == "13"


def increments(connection: Conn, stream: int) -> int:
    """How much window a stream is given now."""
    ours = [
        frame for frame in sent(connection) if (frame.type, frame.stream) == (frames.WINDOW_UPDATE, stream)
    ]
    return sum(int.from_bytes(frame.payload, "big") for frame in ours)


def test_small_messages_keep_the_first_window_open() -> None:
    """A stream may live for ever on its first window: what is read is given back."""
    connection = opened()
    connection.receive(begin(1))
    window = 65_535
    for _ in range(500):
        piece = message(b"x" * 1000)
        connection.receive(data(1, piece))
        window += increments(connection, 1) - len(piece)
        assert 65_535 // 2 - 1005 <= window <= 65_535


@given(st.integers(1, 65_530), st.integers(0, 64_000))
def test_what_fits_into_the_first_window_needs_no_turn(size: int, before: int) -> None:
    """However much of the window earlier messages have used, the rest of a small one may come."""
    connection = opened()
    window = 65_535 - before
    connection.receive(begin(1) + (data(1, message(b"x" * (before - 5))) if before > 4 else b""))
    window += increments(connection, 1) + (0 if before > 4 else before)
    rest, events = message(b"y" * size), []
    while rest:
        assert window > 0
        piece, rest = rest[: min(window, 16_384)], rest[min(window, 16_384) :]
        events += connection.receive(data(1, piece))
        window += increments(connection, 1) - len(piece)
        assert window <= 65_535
    assert settled(events) == [Received(1, b"y" * size)]


def test_what_is_held() -> None:
    """A message counts from the read that it does not end in; the next one of its stream is another."""
    connection = opened()
    connection.receive(begin(1) + begin(3))
    whole = message(b"x" * 995)
    assert connection.receive(data(1, whole + whole[:400])) == [Received(1, whole[5:]), Begun(1)]
    assert connection.receive(data(3, whole[:100])) == [Begun(3)]
    assert connection.receive(data(1, whole[400:900])) == []
    assert connection.held == 900 + 100
    assert connection.receive(data(1, whole[900:] + whole[:3])) == [
        Received(1, whole[5:]),
        Arrived(1),
        Begun(1),
    ]
    assert connection.held == 3 + 100
    connection.receive(frames.reset(1, Http2Error.CANCEL))
    connection.end(3, GrpcStatus.OK)
    assert connection.held == 0


def test_what_is_large_is_held_elsewhere() -> None:
    """Once it is known that a message needs a turn, it counts among those that wait for one, or have it."""
    connection = opened()
    connection.receive(begin(1))
    whole = message(b"x" * 150_000)
    assert connection.receive(data(1, whole[:3])) == [Begun(1)]
    assert connection.receive(data(1, whole[3:65_535])) == [Large(1)]
    connection.admit(1)
    assert connection.held == 0
    assert connection.receive(data(1, whole[65_535:])) == [Received(1, whole[5:]), Arrived(1)]
    assert connection.receive(data(1, whole[:4])) == [Begun(1)]
    assert connection.held == 4
    connection.abandon()
    assert connection.held == 0


def test_a_large_message_waits_for_its_turn() -> None:
    """It is given no window before, then all that it needs and no more; after it the first window is open again."""
    connection = opened()
    connection.receive(begin(1))
    whole = message(b"x" * 150_000)
    assert connection.receive(data(1, whole[:10_000])) == [Large(1)]
    assert connection.receive(data(1, whole[10_000:65_535])) == []
    assert increments(connection, 1) == 0
    connection.admit(1)
    assert increments(connection, 1) == len(whole) - 65_535
    assert connection.receive(data(1, whole[65_535:100_000])) == []
    assert connection.receive(data(1, whole[100_000:])) == [Received(1, whole[5:]), Arrived(1)]
    assert increments(connection, 1) == 65_535


def test_padding_does_not_eat_a_large_message_s_window() -> None:
    """6.1: padding counts as content; what it took is given on top, so that the end of the message still fits."""
    connection = opened()
    connection.receive(begin(1))
    rest, window, events = message(b"x" * 100_000), 65_535, []
    while rest:
        size = min(1000, window - 256) if window > 256 else window
        padded = window > 256
        assert size > 0
        piece, rest = rest[:size], rest[size:]
        said = b"\xff" + piece + bytes(255) if padded else piece
        events += connection.receive(data(1, said, frames.PADDED if padded else 0))
        if events == [Large(1)] and len(rest) > 95_000:
            connection.admit(1)
        window += increments(connection, 1) - len(said)
    assert kinds(events) == [("Large", 1), ("Received", 1), ("Arrived", 1)]


def test_a_turn_that_comes_too_late_gives_nothing() -> None:
    """A stream that is over, or has no large message on its way, is given no window."""
    connection = opened()
    connection.receive(begin(1) + begin(3) + data(3, message(b"x")) + frames.reset(1, Http2Error.CANCEL))
    connection.admit(1)
    connection.admit(3)
    connection.admit(99)
    assert sent(connection) == []


def test_more_than_the_window_is_an_error_of_the_stream() -> None:
    """6.9.1: the stream is reset, others go on; what it brought is given back to the connection."""
    connection = opened(message_bytes=2_000_000)
    connection.receive(begin(1) + begin(3))
    whole = message(b"x" * 1_000_000)
    events = connection.receive(data(1, whole[:70_000]) + data(3, message(b"3")))
    assert events == [Left(1), Received(3, b"3")]
    assert Frame(frames.RST_STREAM, 0, 1, b"\0\0\0\3") in sent(connection)


def test_finish_ends_all_and_takes_no_more() -> None:
    """6.8: UNAVAILABLE sends clients elsewhere; what waits for a window is not sent before it."""
    connection = opened()
    connection.receive(begin(1) + begin(3))
    connection.send(3, [b"x" * 100_000])
    assert len(content(connection.output(), 3)) == 65_535
    connection.finish(GrpcStatus.UNAVAILABLE, "going")
    ends = sent(connection)
    assert [(frame.type, frame.stream) for frame in ends] == [
        (frames.HEADERS, 1),
        (frames.RST_STREAM, 1),
        (frames.HEADERS, 3),
        (frames.RST_STREAM, 3),
        (frames.GOAWAY, 0),
    ]
    assert [headers(ends[0])["grpc-status"], headers(ends[2])["grpc-status"]] == ["14", "14"]
    assert connection.receive(begin(5)) == []
    assert sent(connection) == [Frame(frames.RST_STREAM, 0, 5, b"\0\0\0\7")]


def test_a_block_that_is_none_breaks_the_connection() -> None:
    """4.3: the table is lost, and with it all that follows."""
    connection = opened()
    with pytest.raises(BrokenError) as error:
        connection.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff"))
    assert error.value.code is Http2Error.COMPRESSION_ERROR


def test_a_table_counts_until_the_client_has_agreed() -> None:
    """Blocks on refused streams and trailers fill it too."""
    encoder = Encoder()
    connection = Conn(1, 100)
    said = BEGINNING + begin(1, encoder=encoder) + begin(3, path="/new", encoder=encoder)
    assert connection.receive(said + frames.reset(1, Http2Error.CANCEL)) == [Opened(1, PATH), Left(1)]
    assert connection.receive(begin(5, path="/new", encoder=encoder)) == [Opened(5, "/new")]
    encoder.header_table_size = 0
    connection.receive(AGREED + frames.reset(5, Http2Error.CANCEL))
    assert connection.receive(begin(7, path="/new", encoder=encoder)) == [Opened(7, "/new")]
