"""gRPC's statuses and header blocks on HTTP/2, as bytes. Pure.

Blocks are literals that enter no table, so they are the same on every connection. Source: RFC 7541, 6.2.2;
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import enum
from typing import Final
from urllib.parse import quote

from igw_ops.http2.header_blocks import literal

PREFIX_BYTES: Final = 5
"""Before each message: whether it is compressed, and its length."""
_MAX_TEXT: Final = 1_024
"""Of an error's text, in characters: clients have bounds of their own, and drop what is beyond."""
_UNESCAPED: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class GrpcStatus(enum.IntEnum):
    """How a call ended (https://grpc.io/docs/guides/status-codes)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


def prefix(size: int) -> bytes:
    """Give what stands before a message of so many bytes, uncompressed."""
    return size.to_bytes(PREFIX_BYTES, "big")


def message(content: bytes) -> bytes:
    """Give a message, uncompressed, with its prefix."""
    return prefix(len(content)) + content


OK_HEADERS: Final = b"\x88" + literal(b"content-type", b"application/grpc")
"""`:status: 200` is entry 8 of HPACK's static table. The least that begins an answer."""
RESPONSE_HEADERS: Final = OK_HEADERS + literal(b"grpc-accept-encoding", b"identity")
UNSUPPORTED_MEDIA_TYPE: Final = b"\x08\x03415"
"""`:status: 415`, by the name of the same entry: what comes is not gRPC."""


def trailers(status: GrpcStatus, text: str = "") -> bytes:
    """Give the block that ends a call; the text is percent-encoded UTF-8, cut to what clients read."""
    block = literal(b"grpc-status", b"%d" % status)
    return block + literal(b"grpc-message", quote(text[:_MAX_TEXT], _UNESCAPED).encode()) if text else block
