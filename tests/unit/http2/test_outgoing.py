"""What is sent keeps to the peer's windows and frames; each test names the rule of RFC 9113."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_ops.http2 import frames
from igw_ops.http2.frames import BrokenError, Http2Error
from igw_ops.http2.outgoing import BATCH_BYTES, FIRST_WINDOW, Outgoing, Piece

WIDEST = 2**31 - 1


class Wire:
    """An outgoing side with streams 1 and 3, and a peer that checks all that it is sent."""

    def __init__(self, *, wide: bool = False) -> None:
        self.output: list[Piece] = []
        self.outgoing = Outgoing(self.output)
        self.windows = {0: FIRST_WINDOW, 1: FIRST_WINDOW, 3: FIRST_WINDOW}
        self.first = FIRST_WINDOW
        self.longest = 16_384
        self.came = {1: b"", 3: b""}
        self.outgoing.begin(1)
        self.outgoing.begin(3)
        if wide:
            self.grant(0, WIDEST - FIRST_WINDOW)
            self.settle({frames.INITIAL_WINDOW_SIZE: WIDEST})

    def send(self, stream: int, *pieces: bytes) -> None:
        """Send pieces."""
        self.outgoing.send(stream, pieces, sum(map(len, pieces)))

    def grant(self, stream: int, increment: int) -> None:
        """Widen a window."""
        self.windows[stream] += increment
        assert self.outgoing.grant(stream, increment) is None
        self.outgoing.fill()

    def settle(self, told: dict[int, int]) -> None:
        """Tell settings; what was sent before they came had other bounds."""
        self.read()
        more = told.get(frames.INITIAL_WINDOW_SIZE, self.first) - self.first
        self.first += more
        self.windows = {n: window + more * (n > 0) for n, window in self.windows.items()}
        self.longest = told.get(frames.MAX_FRAME_SIZE, self.longest)
        self.outgoing.settle(told)
        self.outgoing.fill()

    def read(self) -> int:
        """Take what was sent, all that is ready, and give how many bytes of content it was."""
        before = sum(map(len, self.came.values()))
        while self.output:
            data, position = b"".join(self.output), 0
            self.output.clear()
            while position < len(data):
                size, stream = int.from_bytes(data[position : position + 3], "big"), data[position + 8]
                position += frames.HEADER_BYTES + size
                assert size <= self.longest
                self._take(stream, data[position - size : position])
            self.outgoing.renew()
            self.outgoing.fill()
        return sum(map(len, self.came.values())) - before

    def _take(self, stream: int, content: bytes) -> None:
        self.came[stream] += content
        for number in (0, stream):
            self.windows[number] -= len(content)
            assert self.windows[number] >= 0


STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from([1, 3]), st.lists(st.integers(0, 40_000), max_size=4)),
    st.tuples(st.just("grant"), st.sampled_from([0, 1, 3]), st.integers(1, 60_000)),
    st.tuples(st.just("first"), st.integers(0, 200_000), st.none()),
    st.tuples(st.just("longest"), st.integers(16_384, 100_000), st.none()),
    st.tuples(st.sampled_from(["hold", "resume", "read"]), st.none(), st.none()),
)


@given(st.lists(STEPS, max_size=25))
def test_any_windows_let_the_same_bytes_through(steps: list[Any]) -> None:
    """6.9: no window is ever exceeded, all that it allows is sent, and once wide enough everything has come."""
    wire, said, number = Wire(), {1: b"", 3: b""}, 0
    for kind, first, second in steps:
        match kind:
            case "send":
                pieces = [bytes([number := (number + 1) % 256]) * size for size in second]
                said[first] += b"".join(pieces)
                wire.send(first, *pieces)
            case "grant":
                wire.grant(first, second)
            case "first":
                wire.settle({frames.INITIAL_WINDOW_SIZE: first})
            case "longest":
                wire.settle({frames.MAX_FRAME_SIZE: first})
            case "hold":
                wire.outgoing.hold()
            case "resume":
                wire.outgoing.resume()
            case _:
                wire.read()
    wire.outgoing.resume()
    wire.read()
    for stream in (1, 3):
        assert said[stream].startswith(wire.came[stream])
        open_window = min(wire.windows[0], wire.windows[stream])
        assert wire.came[stream] == said[stream] or open_window <= 0
    for stream in (0, 1, 3):
        wire.grant(stream, 10_000_000)
    wire.read()
    assert wire.came == said
    assert not wire.outgoing.blocked(1)


def test_a_shrunken_window_is_made_up_for_first() -> None:
    """6.9.2: a window may become negative, and nothing is sent until it is positive again."""
    wire = Wire()
    wire.send(1, b"x" * 60_000)
    wire.settle({frames.INITIAL_WINDOW_SIZE: 0})
    wire.send(1, b"y" * 10)
    assert wire.windows[1] == -60_000
    wire.grant(1, 60_000)
    assert wire.read() == 0
    wire.grant(1, 4)
    assert wire.read() == 4


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({frames.MAX_FRAME_SIZE: 16_383}, Http2Error.PROTOCOL_ERROR),
        ({frames.MAX_FRAME_SIZE: 2**24}, Http2Error.PROTOCOL_ERROR),
        ({frames.INITIAL_WINDOW_SIZE: 2**31}, Http2Error.FLOW_CONTROL_ERROR),
    ],
)
def test_settings_have_bounds(told: dict[int, int], code: Http2Error) -> None:
    """6.5.2."""
    with pytest.raises(BrokenError) as error:
        Outgoing([]).settle(told)
    assert error.value.code is code


def test_settings_may_not_widen_a_stream_too_far() -> None:
    """6.9.2: the sum of a grant and a new first window counts."""
    wire = Wire()
    wire.grant(1, WIDEST - FIRST_WINDOW)
    with pytest.raises(BrokenError) as error:
        wire.outgoing.settle({frames.INITIAL_WINDOW_SIZE: FIRST_WINDOW + 1})
    assert error.value.code is Http2Error.FLOW_CONTROL_ERROR


def test_a_grant_has_bounds() -> None:
    """6.9 and 6.9.1: nothing, and too much, are errors of the stream, or of the connection."""
    outgoing = Wire().outgoing
    assert outgoing.grant(1, 0) is Http2Error.PROTOCOL_ERROR
    assert outgoing.grant(1, WIDEST) is Http2Error.FLOW_CONTROL_ERROR
    assert outgoing.grant(99, 0) is None  # over: no error any more
    for increment, code in ((0, Http2Error.PROTOCOL_ERROR), (WIDEST, Http2Error.FLOW_CONTROL_ERROR)):
        with pytest.raises(BrokenError) as error:
            Wire().outgoing.grant(0, increment)
        assert error.value.code is code


def test_what_waits_is_not_copied() -> None:
    """A thousand streams that wait to send the same 45 MB hold it once."""
    wire, big = Wire(), bytes(50_000_000)
    wire.send(1, b"prefix", big)
    (stream,) = wire.outgoing._waiting.values()
    assert stream.pieces is not None
    assert [piece is big for piece in stream.pieces] == [True]
    cut = [piece for piece in wire.output if len(piece) > 1000]
    assert all(isinstance(piece, memoryview) and piece.obj is big for piece in cut)


def test_a_batch_is_bounded_and_streams_take_turns() -> None:
    """A large message does not hold up another stream's, nor other connections."""
    wire = Wire(wide=True)
    wire.send(1, bytes(10_000_000))
    assert sum(map(len, wire.output)) < BATCH_BYTES + 20_000
    wire.send(3, b"short")
    assert (wire.outgoing.more, wire.came[3]) == (True, b"")
    wire.output.clear()
    wire.outgoing.renew()
    wire.outgoing.fill()
    assert b"short" in wire.output[:5]
    assert sum(map(len, wire.output)) < BATCH_BYTES + 20_000


def test_who_was_blocked_is_told_once() -> None:
    """By a window or by the socket; who is blocked by both is told when neither is left."""
    wire = Wire()
    outgoing = wire.outgoing
    wire.send(1, bytes(FIRST_WINDOW + 1))
    assert (outgoing.blocked(1), outgoing.blocked(3), outgoing.freed(), outgoing.more) == (
        True,
        False,
        [],
        False,
    )
    wire.grant(0, 1)
    outgoing.hold()
    wire.grant(1, 10)
    assert (outgoing.blocked(1), outgoing.blocked(3), outgoing.freed(), outgoing.more) == (
        True,
        True,
        [],
        False,
    )
    outgoing.resume()
    assert (outgoing.more, outgoing.freed(), outgoing.freed(), outgoing.more) == (True, [1, 3], [], False)


def test_an_end_comes_behind_all_that_waits() -> None:
    """And then the stream is over; a dropped one sends nothing more."""
    wire = Wire()
    wire.send(1, bytes(FIRST_WINDOW + 1))
    wire.outgoing.end(1, b"the end")
    wire.outgoing.end(3, b"at once")
    wire.send(1, b"too late")
    assert (wire.output[-1], len(wire.outgoing)) == (b"at once", 1)
    for number in (0, 1):
        wire.grant(number, 100)
    assert (wire.output[-1], len(wire.outgoing), wire.outgoing.blocked(1)) == (b"the end", 0, True)
    wire.output.clear()
    assert wire.outgoing.drop(1) is False
    assert wire.output == []
