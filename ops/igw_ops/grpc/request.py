"""Header blocks of requests: which method is called, and whether it is gRPC. Pure. Source: RFC 9113, 8.3."""

from typing import NamedTuple

from igw_ops.http2.header_blocks import HeaderBlocks


class Request(NamedTuple):
    """What a stream asks for; a path that is missing is empty."""

    path: str
    grpc: bool
    """Whether it is gRPC's content type."""


class Requests(HeaderBlocks):
    """The header blocks of one connection."""

    __slots__ = ()

    def read(self, block: bytes) -> Request:
        """Give what a block asks for. BrokenError when it is no header block."""
        headers = dict(self.headers(block))
        return Request(
            headers.get(b":path", b"").decode("latin-1"),
            headers.get(b"content-type", b"").startswith(b"application/grpc"),
        )
