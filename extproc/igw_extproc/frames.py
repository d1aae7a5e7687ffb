"""HTTP/2 frames and the header blocks that we send: values in, bytes out, and back. Pure.

Only what a gRPC server with tiny answers needs. Source: RFC 9113, 4 and 6; RFC 7541, 6.2.2;
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 16_384
"""SETTINGS_MAX_FRAME_SIZE as it is unless told otherwise, and we tell nobody otherwise."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE = range(9)
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8

MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4


class Http2Error(enum.IntEnum):
    """RFC 9113, 7: what we ever say went wrong with a connection or a stream."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    FLOW_CONTROL_ERROR = 0x3
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7


class GrpcStatus(enum.IntEnum):
    """The statuses with which we end a stream."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12


class Frame(NamedTuple):
    """One frame as it came; the payload may be padded."""

    type: int
    flags: int
    stream: int
    payload: bytes


@dataclass(slots=True)
class BrokenError(Exception):
    """The peer broke HTTP/2: say so with GOAWAY and hang up (RFC 9113, 5.4.1)."""

    code: Http2Error
    reason: str


def split(data: bytes, start: int = 0) -> Iterator[tuple[Frame, int]]:
    """Give each whole frame of `data` from `start`, and where it ends. BrokenError for one too long."""
    position, size = start, len(data)
    while size - position >= HEADER_BYTES:
        body = position + HEADER_BYTES
        end = body + int.from_bytes(data[position : position + 3], "big")
        if end - body > MAX_FRAME_BYTES:
            raise BrokenError(Http2Error.FRAME_SIZE_ERROR, f"a frame of {end - body} bytes")
        if end > size:
            return
        stream = int.from_bytes(data[position + 5 : body], "big") & 0x7FFFFFFF
        yield Frame(data[position + 3], data[position + 4], stream, data[body:end]), end
        position = end


def content(frame: Frame) -> bytes:
    """Give a DATA frame's bytes without the padding (RFC 9113, 6.1)."""
    if not frame.flags & PADDED:
        return frame.payload
    if not frame.payload or frame.payload[0] >= len(frame.payload):
        raise BrokenError(Http2Error.PROTOCOL_ERROR, "padding longer than its frame")
    return frame.payload[1 : len(frame.payload) - frame.payload[0]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Give a frame's bytes."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def settings(values: dict[int, int]) -> bytes:
    """Give a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def settings_values(payload: bytes) -> dict[int, int]:
    """Give what a SETTINGS frame says."""
    if len(payload) % 6:
        raise BrokenError(Http2Error.FRAME_SIZE_ERROR, "SETTINGS not a multiple of 6 bytes")
    return dict(struct.iter_unpack(">HI", payload))


def window_update(stream: int, increment: int) -> bytes:
    """Give a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: Http2Error) -> bytes:
    """Give a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def go_away(last_stream: int, code: Http2Error) -> bytes:
    """Give a GOAWAY frame: streams above the last will not be answered."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last_stream, code))


def header(name: bytes, value: bytes) -> bytes:
    """Give a header as a literal that enters no table (RFC 7541, 6.2.2); both under 127 bytes."""
    return b"\x00%c%b%c%b" % (len(name), name, len(value), value)


RESPONSE_HEADERS: Final = b"\x88" + header(b"content-type", b"application/grpc")
"""`:status: 200` is entry 8 of HPACK's static table."""


def trailers(status: GrpcStatus, reason: str = "") -> bytes:
    """Give the header block that ends a gRPC response; the reason is plain ASCII, cut to 100 characters."""
    block = header(b"grpc-status", str(int(status)).encode())
    return block + header(b"grpc-message", reason[:100].encode()) if reason else block


def message(content: bytes) -> bytes:
    """Give a gRPC message, uncompressed, with its five bytes of prefix."""
    return b"\x00%b%b" % (len(content).to_bytes(4, "big"), content)
