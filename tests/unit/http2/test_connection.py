"""One HTTP/2 connection, byte for byte; each test names the rule of RFC 9113. More rules: tests/unit/extproc."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_ops.http2 import frames
from igw_ops.http2.connection import (
    MAX_BLOCK_BYTES,
    Agreed,
    Began,
    Connection,
    Content,
    Ended,
    Event,
    Passed,
    Reset,
)
from igw_ops.http2.frames import BrokenError, Frame, Http2Error

BEGINNING = frames.PREFACE + frames.settings({})
AGREED = frames.frame(frames.SETTINGS, frames.ACK, 0)
BOTH = frames.END_HEADERS | frames.END_STREAM


def opened(streams: int = 3) -> Connection:
    """A connection past its beginning, nothing to send."""
    connection = Connection({frames.MAX_CONCURRENT_STREAMS: streams}, 1000)
    connection.receive(BEGINNING)
    connection.output()
    return connection


def headers(stream: int, block: bytes, flags: int = BOTH) -> bytes:
    """A HEADERS frame."""
    return frames.frame(frames.HEADERS, flags, stream, block)


def more(stream: int, block: bytes, flags: int = 0) -> bytes:
    """A CONTINUATION frame."""
    return frames.frame(frames.CONTINUATION, flags, stream, block)


def sent(connection: Connection) -> list[Frame]:
    """The frames that the connection sends now."""
    return [frame for frame, _ in frames.split(connection.output())]


CONVERSATION = (
    BEGINNING
    + headers(1, b"one", frames.END_HEADERS)
    + headers(3, b"th", frames.END_STREAM)
    + more(3, b"r")
    + more(3, b"ee", frames.END_HEADERS)
    + AGREED
    + headers(5, b"\x02\x80\x00\x00\x00\x10five..", BOTH | frames.PADDED | frames.WITH_PRIORITY)
    + headers(7, b"one too many")
    + frames.frame(frames.DATA, 0, 1, b"body")
    + headers(1, b"trailers")
    + frames.reset(3, Http2Error.NO_ERROR)
    + headers(3, b"late")
    + headers(9, b"nine", frames.END_HEADERS)
    + frames.frame(frames.DATA, frames.END_STREAM, 9, b"")
    + frames.go_away(0, Http2Error.NO_ERROR)
)
EVENTS: list[Event] = [
    Began(1, b"one", ended=False),
    Began(3, b"three", ended=True),
    Agreed(),
    Began(5, b"five", ended=True),
    Passed(b"one too many"),
    Content(1, b"body"),
    Passed(b"trailers"),
    Ended(1),
    Reset(3),
    Passed(b"late"),
    Began(9, b"nine", ended=False),
    Content(9, b""),
    Ended(9),
]


@given(st.lists(st.integers(0, len(CONVERSATION))))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    """TCP may cut anywhere; every header block is told, in its order, whatever becomes of its stream."""
    connection = Connection({frames.MAX_CONCURRENT_STREAMS: 3}, 1000)
    events: list[Event] = []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(CONVERSATION)]):
        events += connection.receive(CONVERSATION[start:end])
    assert [(type(event), event) for event in events] == [(type(event), event) for event in EVENTS]
    assert connection.output().endswith(frames.reset(7, Http2Error.REFUSED_STREAM))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (more(1, b"", frames.END_HEADERS), Http2Error.PROTOCOL_ERROR),
        (headers(1, b"", 0) + headers(1, b""), Http2Error.PROTOCOL_ERROR),
        (headers(1, b"", 0) + more(3, b""), Http2Error.PROTOCOL_ERROR),
        (headers(1, b"", 0) + frames.frame(frames.PING, 0, 0, b"12345678"), Http2Error.PROTOCOL_ERROR),
        (headers(1, b"", 0) + more(1, b"x" * 16_384) * 5, Http2Error.ENHANCE_YOUR_CALM),
        (headers(1, b"\x07abc", BOTH | frames.PADDED), Http2Error.PROTOCOL_ERROR),
    ],
)
def test_a_header_block_comes_in_one_piece_and_is_bounded(wrong: bytes, code: Http2Error) -> None:
    """6.10 and 10.5.1: nothing comes between its frames, and it cannot fill memory."""
    connection = opened()
    with pytest.raises(BrokenError) as error:
        connection.receive(wrong)
    assert error.value.code is code


def test_the_longest_header_block_is_read() -> None:
    """What Envoy can send of a client's headers is within the bound."""
    whole, size = opened(), frames.MAX_FRAME_BYTES
    block = b"x" * MAX_BLOCK_BYTES
    pieces = [block[start : start + size] for start in range(size, len(block), size)]
    flags = [0, 0, frames.END_HEADERS]
    rest = b"".join(more(1, piece, flag) for piece, flag in zip(pieces, flags, strict=True))
    assert whole.receive(headers(1, block[:size], frames.END_STREAM) + rest) == [Began(1, block, ended=True)]


@pytest.mark.parametrize("over", [False, True])
def test_broken_padding_breaks_the_connection(*, over: bool) -> None:
    """6.1, whether the stream goes on or is over: what comes of it cannot hang on when we answered."""
    connection = opened()
    connection.receive(headers(1, b"", frames.END_HEADERS))
    if over:
        connection.close(1)
    with pytest.raises(BrokenError):
        connection.receive(frames.frame(frames.DATA, frames.PADDED, 1, b"\x07abc"))


def test_nothing_is_sent_on_a_stream_that_was_reset() -> None:
    """5.4.2: not even what already waited for the window, and it waits for no window any more."""
    connection = opened()
    connection.receive(headers(1, b"") + headers(3, b""))
    for stream in (1, 3):
        assert connection.close(stream)
        connection.send(stream, b"%d" % stream, 40_000)
    assert (connection.output(), connection.live) == (b"1", 1)
    connection.receive(frames.reset(3, Http2Error.NO_ERROR) + frames.window_update(0, 100_000))
    assert (connection.output(), connection.live) == (b"", 0)


def test_a_stream_is_closed_once() -> None:
    """What was reset, by either side, is not answered."""
    connection = opened()
    connection.receive(headers(1, b"") + headers(3, b"") + frames.reset(1, Http2Error.NO_ERROR))
    assert [connection.close(1), connection.close(3), connection.close(3)] == [False, True, False]
    connection.reset(3, Http2Error.INTERNAL_ERROR)
    assert sent(connection) == []
