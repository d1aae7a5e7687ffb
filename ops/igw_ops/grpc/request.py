"""Header blocks of requests: which method is called, and whether it is gRPC. Pure.

We tell clients to keep no table. Until one has agreed, its blocks are shown to one decoder in their order; after that
a block means the same wherever it comes. Source: RFC 7541; RFC 9113, 8.3.
"""

from typing import Final, NamedTuple

from hpack import Decoder, HPACKError

from igw_ops.http2.frames import BrokenError, Http2Error

MAX_LIST_BYTES: Final = 128 * 1024
"""Of a block's headers unpacked, as RFC 9113, 6.5.2, counts them."""


class Request(NamedTuple):
    """What a stream asks for; a path that is missing is empty."""

    path: str
    grpc: bool
    """Whether it is gRPC's content type."""


class Requests:
    """The header blocks of one connection."""

    __slots__ = ("_agreed", "_decoder")

    def __init__(self) -> None:
        self._agreed = False
        self._decoder: Decoder | None = None

    def agreed(self) -> None:
        """From here on the client keeps no table."""
        self._agreed = True
        self._decoder = None

    def pass_over(self, block: bytes) -> None:
        """Take a block that asks nothing, such as trailers."""
        if not self._agreed:
            self._headers(block)

    def read(self, block: bytes) -> Request:
        """Give what a block asks for. BrokenError when it is no header block."""
        headers = dict(self._headers(block))
        return Request(
            headers.get(b":path", b"").decode("latin-1"),
            headers.get(b"content-type", b"").startswith(b"application/grpc"),
        )

    def _headers(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            return list(self._decoder_now().decode(block, raw=True))
        except HPACKError as error:
            # Not chained: the library's words may quote what it was reading, and that may be a token.
            raise BrokenError(Http2Error.COMPRESSION_ERROR, type(error).__name__) from None

    def _decoder_now(self) -> Decoder:
        if self._decoder is not None:
            return self._decoder
        decoder = Decoder(MAX_LIST_BYTES)
        if self._agreed:
            decoder.max_allowed_table_size = decoder.header_table_size = 0
        else:
            self._decoder = decoder
        return decoder
