"""HPACK's header blocks: what a check's says, and those of our replies. Pure.

We tell our callers to keep no table (HEADER_TABLE_SIZE 0). Once they have agreed, a block means the same whenever and
on whichever connection it comes; until then one decoder has to be shown all blocks of a connection in their order.
Source: RFC 7541; RFC 9113, 4.3.
"""

from collections.abc import Iterable
from typing import Final

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple
from igw_model.headers import POLICY
from igw_ops.http2.frames import BrokenError, Http2Error

from igw_extauth.answer import Answer
from igw_extauth.attempt import Attempt, bearer_token
from igw_extauth.http_request import Policies

MAX_LIST_BYTES: Final = 128 * 1024
"""Of a block's headers unpacked, as RFC 9113, 6.5.2, counts them: twice the longest block."""

_POLICY = POLICY.encode()
_Headers = Iterable[tuple[bytes, bytes]]


class HeaderBlocks:
    """The header blocks of one connection's requests; `stateless` once its caller keeps no table."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._decoder = Decoder(MAX_LIST_BYTES)
        self.stateless = False

    def agreed(self) -> None:
        """From here on the caller keeps no table."""
        self._decoder.max_allowed_table_size = self._decoder.header_table_size = 0
        self.stateless = True

    def pass_over(self, block: bytes) -> None:
        """Take a block that asks nothing, such as trailers."""
        if not self.stateless:
            self._headers(block)

    def question(self, block: bytes) -> tuple[Attempt, bool]:
        """Give what a request attempts, and whether its reply has no body, being one to HEAD.

        Two headers say all of the attempt; method and path, and whether the request is well formed, say nothing.
        """
        headers = list(self._headers(block))
        authorization = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
        policy = self._policies.policy([value for name, value in headers if name == _POLICY])
        return Attempt(policy, bearer_token(authorization)), (b":method", b"HEAD") in headers

    def _headers(self, block: bytes) -> _Headers:
        try:
            return self._decoder.decode(block, raw=True)
        except HPACKError as error:
            # Not chained: the library's words may quote what it was reading, and that may be a token.
            raise BrokenError(Http2Error.COMPRESSION_ERROR, type(error).__name__) from None


def reply_block(answer: Answer) -> bytes:
    """Give the header block of a reply: no table is used or filled, so it is the same for all callers."""
    headers = [
        (b":status", b"%d" % answer.status),
        *answer.headers,
        (b"content-length", b"%d" % len(answer.body)),
    ]
    never = [NeverIndexedHeaderTuple(name, value) for name, value in headers]
    return Encoder().encode(never, huffman=False)
