"""A connection with flow control for each stream: what breaks it, what breaks a stream, and what each side may send."""

import pytest
from igw_ops.http2 import frames
from igw_ops.http2.connection import Began, Content, Ended, Reset
from igw_ops.http2.frames import BrokenError, Frame, Http2Error
from igw_ops.http2.streaming import StreamingConnection

BOTH = frames.END_HEADERS | frames.END_STREAM
WIDEST = 2**31 - 1


def opened(streams: int = 3) -> StreamingConnection:
    """A connection past its beginning with streams 1 and, half-closed, 3; nothing to send."""
    connection = StreamingConnection({frames.MAX_CONCURRENT_STREAMS: streams}, 100_000)
    connection.receive(frames.PREFACE + frames.settings({}))
    connection.receive(headers(1, frames.END_HEADERS) + headers(3, BOTH))
    connection.output()
    return connection


def headers(stream: int, flags: int) -> bytes:
    """A HEADERS frame."""
    return frames.frame(frames.HEADERS, flags, stream, b"block")


def data(stream: int, size: int, flags: int = 0) -> bytes:
    """DATA frames of so many bytes."""
    sizes = [16_384] * (size // 16_384) + [size % 16_384]
    return b"".join(frames.frame(frames.DATA, flags, stream, bytes(size)) for size in sizes)


def sent(connection: StreamingConnection) -> list[Frame]:
    """The frames that the connection sends now."""
    return [frame for frame, _ in frames.split(connection.output())]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (frames.frame(frames.PING, 0, 0, b"short"), Http2Error.FRAME_SIZE_ERROR),
        (frames.frame(frames.PING, 0, 1, b"12345678"), Http2Error.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, b"short"), Http2Error.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), Http2Error.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 0, 1), Http2Error.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 1, b"123"), Http2Error.FRAME_SIZE_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 0, bytes(4)), Http2Error.PROTOCOL_ERROR),
        (frames.reset(5, Http2Error.CANCEL), Http2Error.PROTOCOL_ERROR),
        (frames.frame(frames.WINDOW_UPDATE, 0, 1, b"123"), Http2Error.FRAME_SIZE_ERROR),
        (frames.window_update(0, 0), Http2Error.PROTOCOL_ERROR),
        (frames.window_update(0, WIDEST), Http2Error.FLOW_CONTROL_ERROR),
        (frames.window_update(5, 1), Http2Error.PROTOCOL_ERROR),
        (frames.frame(frames.GOAWAY, 0, 1, bytes(8)), Http2Error.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, BOTH, 0), Http2Error.PROTOCOL_ERROR),
        (frames.frame(frames.PUSH_PROMISE, BOTH, 1, bytes(4)), Http2Error.PROTOCOL_ERROR),
        (data(0, 1), Http2Error.PROTOCOL_ERROR),
        (data(5, 1), Http2Error.PROTOCOL_ERROR),
        (frames.settings({frames.MAX_FRAME_SIZE: 1}), Http2Error.PROTOCOL_ERROR),
        (headers(5, 0) + frames.window_update(0, 1), Http2Error.PROTOCOL_ERROR),
        (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", Http2Error.FRAME_SIZE_ERROR),
        (data(1, 65_535) + data(3, 100_001), Http2Error.FLOW_CONTROL_ERROR),
        (
            frames.reset(1, Http2Error.CANCEL) + frames.frame(0, frames.PADDED, 1, b"\x07abc"),
            Http2Error.PROTOCOL_ERROR,
        ),
    ],
)
def test_what_breaks_the_connection(wrong: bytes, code: Http2Error) -> None:
    """RFC 9113, 4.2 and 6: malformed frames, frames where they may not be, and more than the windows."""
    with pytest.raises(BrokenError) as error:
        opened().receive(wrong)
    assert error.value.code is code


@pytest.mark.parametrize(
    ("wrong", "stream", "code"),
    [
        (data(3, 1), 3, Http2Error.STREAM_CLOSED),
        (headers(3, BOTH), 3, Http2Error.STREAM_CLOSED),
        (data(1, 65_536), 1, Http2Error.FLOW_CONTROL_ERROR),
        (frames.window_update(1, 0), 1, Http2Error.PROTOCOL_ERROR),
        (frames.window_update(1, WIDEST), 1, Http2Error.FLOW_CONTROL_ERROR),
    ],
)
def test_what_breaks_a_stream(wrong: bytes, stream: int, code: Http2Error) -> None:
    """5.1, 6.9: it is reset, and the others go on."""
    connection = opened()
    assert connection.receive(wrong)[-1] == Reset(stream)
    assert [frame for frame in sent(connection) if frame.type == frames.RST_STREAM] == [
        Frame(frames.RST_STREAM, 0, stream, code.to_bytes(4, "big"))
    ]
    assert connection.receive(headers(5, BOTH)) == [Began(5, b"block", ended=True)]


def test_a_window_is_what_its_owner_gives() -> None:
    """6.9: content uses it up, `widen` tops it up, and a stream that is half-closed needs none."""
    connection = opened()
    connection.receive(data(1, 60_000))
    assert (connection.window(1), len(sent(connection))) == (5_535, 1)
    connection.widen(1, 5_000)
    connection.widen(3, 5_000)
    assert sent(connection) == []
    connection.widen(1, 90_000)
    assert sent(connection) == [Frame(frames.WINDOW_UPDATE, 0, 1, (90_000 - 5_535).to_bytes(4, "big"))]
    assert (connection.window(1), connection.window(3)) == (90_000, 0)


def test_the_connection_s_window_is_given_back() -> None:
    """What comes on streams that are over counts too, or the connection would stand still."""
    connection = opened()
    connection.receive(frames.reset(1, Http2Error.CANCEL) + data(1, 60_000))
    assert sent(connection) == [Frame(frames.WINDOW_UPDATE, 0, 0, (60_000).to_bytes(4, "big"))]


def test_streams_that_wait_to_send_count() -> None:
    """5.1.2: a client that reads nothing cannot pile up streams."""
    connection = opened(streams=2)
    connection.outgoing.send(3, [bytes(70_000)], 70_000)
    connection.end(3, b"end")
    connection.end(1, b"end")
    assert connection.live == 1
    assert [type(event) for event in connection.receive(headers(5, BOTH) + headers(7, BOTH))][:1] == [Began]
    assert frames.reset(7, Http2Error.REFUSED_STREAM) in connection.output()
    connection.receive(frames.reset(3, Http2Error.CANCEL))
    assert connection.live == 1


def test_a_broken_stream_is_reset_even_when_only_its_end_waits() -> None:
    """The client would wait for it for ever."""
    connection = opened()
    connection.outgoing.send(3, [bytes(70_000)], 70_000)
    connection.end(3, b"end")
    connection.output()
    connection.receive(frames.window_update(3, 0))
    assert [frame.type for frame in sent(connection)] == [frames.RST_STREAM]


def test_pings_are_answered_once() -> None:
    """6.7."""
    connection = opened()
    connection.receive(
        frames.frame(frames.PING, 0, 0, b"12345678") + frames.frame(frames.PING, 1, 0, b"87654321")
    )
    assert sent(connection) == [Frame(frames.PING, frames.ACK, 0, b"12345678")]


def test_content_and_an_end() -> None:
    """The end is told once, with the last content or with trailers."""
    connection = opened()
    assert connection.receive(data(1, 5, frames.END_STREAM)) == [Content(1, bytes(5)), Ended(1)]
    other = opened()
    assert other.receive(headers(1, BOTH))[-1] == Ended(1)


def test_many_small_increments_are_answered_once() -> None:
    """A read full of them costs one look at what waits, and few frames: not a frame of a byte for each."""
    connection = opened()
    connection.outgoing.send(3, [bytes(100_000)], 100_000)
    sent(connection)
    connection.receive(frames.window_update(3, 1_000) + frames.window_update(0, 1) * 500)
    assert [(frame.type, len(frame.payload)) for frame in sent(connection)] == [(frames.DATA, 500)]
