"""HTTP/2 and gRPC as our servers read them: what a peer sends breaks a connection with a reason, and nothing else.

The first byte says how the rest is read: `F` as frames of the right length, else as bytes behind the preface.
"""

from collections.abc import Iterable, Iterator

from igw_extauth.wire.header_block import HeaderBlocks
from igw_extauth.wire.http2 import SETTINGS, WINDOW_BYTES
from igw_extauth.wire.http_request import Policies
from igw_ops.grpc import connection as grpc
from igw_ops.grpc.wire import GrpcStatus
from igw_ops.http2 import connection as http2
from igw_ops.http2 import frames
from igw_ops.http2.frames import BrokenError, Http2Error

from fuzz.chunks import chunkings

WATCHED = ("igw_ops", "igw_extauth", "hpack")
MAX_BYTES = 4096
_STREAMS = 8
_MESSAGE_BYTES = 2048
_MOST_OUTPUT = 65_536
_POLICIES = Policies()
_TOO_MUCH = "more than a window holds"


def check(data: bytes) -> None:
    """Say the bytes to a server of checks and to one of gRPC."""
    said = frames.PREFACE + (b"".join(_framed(data[1:])) if data[:1] == b"F" else data[1:])
    whole, *others = (_checks(chunks) for chunks in chunkings(said))
    assert all(other == whole for other in others), (whole, others)
    outcomes = {_calls(chunks) for chunks in chunkings(said)}
    assert len(outcomes - {_TOO_MUCH}) <= 1, outcomes


def _framed(data: bytes) -> Iterator[bytes]:
    """Give frames: of each, type, flags, stream, a length, and its payload."""
    at = 0
    while at + 4 <= len(data):
        kind, flags, stream, size = data[at : at + 4]
        yield frames.frame(kind, flags, stream, data[at + 4 : at + 4 + size])
        at += 4 + size


def _checks(chunks: Iterable[bytes]) -> tuple[str, ...]:
    """Give what a server of checks is asked, or that the connection breaks.

    What else comes on a stream is left: it depends on the packets whether it comes before the answer.
    """
    connection, blocks = http2.Connection(SETTINGS, WINDOW_BYTES), HeaderBlocks(_POLICIES)
    heard: list[str] = []
    try:
        for chunk in chunks:
            for event in connection.receive(chunk):
                heard += _asked(connection, blocks, event)
            assert connection.live <= SETTINGS[frames.MAX_CONCURRENT_STREAMS] + 1
            _in_frames(connection.output())
    except BrokenError as broken:
        connection.break_off(broken.code)
        _in_frames(connection.output())
        return (
            "broken",
        )  # of two faults in one packet either may be told, and what was heard before is left
    return tuple(heard)


def _asked(connection: http2.Connection, blocks: HeaderBlocks, event: http2.Event) -> list[str]:
    match event:
        case http2.Began(stream, block, _):
            attempt, bodiless = blocks.question(block)
            if connection.close(stream):
                connection.send(stream, frames.frame(frames.DATA, frames.END_STREAM, stream, b"{}"), 2)
            return [f"{stream}: {attempt!r} {bodiless}"]
        case http2.Agreed():
            blocks.agreed()
        case http2.Passed(block):
            blocks.pass_over(block)
        case _:
            pass
    return []


def _calls(chunks: Iterable[bytes]) -> str:
    """Answer as a server of gRPC does; say whether the connection breaks."""
    connection = grpc.Connection(_STREAMS, _MESSAGE_BYTES)
    try:
        for chunk in chunks:
            for event in connection.receive(chunk):
                _answer(connection, event)
            _in_frames(connection.output())
            assert len(connection._calls) <= _STREAMS
    except BrokenError as broken:
        connection.break_off(broken.code)
        connection.abandon()
        _in_frames(connection.output())
        # How far a window may be widened depends on what was sent, and that on the packets.
        return _TOO_MUCH if broken.code is Http2Error.FLOW_CONTROL_ERROR else "broken"
    connection.finish(GrpcStatus.UNAVAILABLE, "the end")
    _in_frames(connection.output())
    return "whole"


def _answer(connection: grpc.Connection, event: grpc.Event) -> None:
    match event:
        case grpc.Received(stream, message):
            assert len(message) <= _MESSAGE_BYTES
            connection.send(stream, [message])
        case grpc.HalfClosed(stream):
            connection.end(stream, GrpcStatus.OK)
        case grpc.Large(stream):
            connection.admit(stream)
        case _:
            pass


def _in_frames(output: bytes) -> None:
    """See that what is sent is whole frames, and not much more than what came."""
    ends = [end for _, end in frames.split(output)]
    assert (ends or [0])[-1] == len(output) <= _MOST_OUTPUT
