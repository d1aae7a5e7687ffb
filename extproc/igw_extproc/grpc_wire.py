"""gRPC's messages and statuses on HTTP/2, as bytes. Pure.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; RFC 7541, 6.2.2.
"""

import enum
from typing import Final


class GrpcStatus(enum.IntEnum):
    """The statuses with which we end a stream."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12


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
