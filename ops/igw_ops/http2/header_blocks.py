"""HPACK's header blocks as the servers of ours read them: a block in, headers out, bounded. Pure.

We tell our peers to keep no table (HEADER_TABLE_SIZE 0). Once one has agreed, its blocks mean the same whenever and on
whichever connection they come; until then one decoder is shown all blocks of a connection in their order. Source:
RFC 7541; RFC 9113, 4.3.
"""

from functools import cache
from typing import Final

from hpack import Decoder, HPACKError

from igw_ops.http2.frames import BrokenError, Http2Error

MAX_LIST_BYTES: Final = 128 * 1024
"""Of a block's headers unpacked, as RFC 9113, 6.5.2, counts them: twice the longest block."""

Headers = list[tuple[bytes, bytes]]


class HeaderBlocks:
    """The header blocks of one connection's requests; `stateless` once its peer keeps no table."""

    __slots__ = ("_decoder", "stateless")

    def __init__(self) -> None:
        """Begin before the peer knows our settings."""
        self._decoder: Decoder | None = None
        self.stateless = False

    def agreed(self) -> None:
        """From here on the peer keeps no table."""
        self._decoder = None
        self.stateless = True

    def pass_over(self, block: bytes) -> None:
        """Take a block that asks nothing, such as trailers."""
        if not self.stateless:
            self.headers(block)

    def headers(self, block: bytes) -> Headers:
        """Give what a block says. BrokenError when it is no header block."""
        try:
            return list(self._decoder_now().decode(block, raw=True))
        except HPACKError as error:
            # Not chained: the library's words may quote what it was reading, and that may be a token.
            raise BrokenError(Http2Error.COMPRESSION_ERROR, type(error).__name__) from None

    def _decoder_now(self) -> Decoder:
        if self.stateless:
            return _without_table()
        if self._decoder is None:
            self._decoder = Decoder(MAX_LIST_BYTES)
        return self._decoder


@cache
def _without_table() -> Decoder:
    """Give the decoder of all blocks that use no table: it keeps nothing from one to the next."""
    decoder = Decoder(MAX_LIST_BYTES)
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    return decoder


def literal(name: bytes, value: bytes) -> bytes:
    """Give a header as a literal that enters no table and is not Huffman-coded (RFC 7541, 6.2.2): the same anywhere."""
    return b"\x00%b%b%b%b" % (_length(len(name)), name, _length(len(value)), value)


def _length(size: int) -> bytes:
    """Give an integer with a prefix of seven bits (RFC 7541, 5.1)."""
    if size < 0x7F:
        return bytes([size])
    size -= 0x7F
    groups = [0x7F]
    while size > 0x7F:
        groups.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*groups, size])
