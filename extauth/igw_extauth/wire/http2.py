"""HTTP/2: many checks share a connection, and each is answered when it can be.

What is remembered is answered by the one write that follows the read; what must be looked up is waited for in a task,
and the others go on meanwhile.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import structlog
from igw_ops.http2 import connection as http2
from igw_ops.http2 import frames
from igw_ops.http2.frames import Http2Error
from igw_ops.http2.peer import Peer

from igw_extauth.answer import Answer
from igw_extauth.attempt import Attempt
from igw_extauth.secret import BearerToken
from igw_extauth.wire.conversation import Link, Shared
from igw_extauth.wire.header_block import HeaderBlocks, reply_block
from igw_extauth.wire.memo import Asked

MAX_STREAMS = 1000
"""Checks at once on one connection, which is one worker of Envoy's; it opens another for more."""
WINDOW_BYTES = 64 * 1024
SETTINGS = {
    frames.HEADER_TABLE_SIZE: 0,
    frames.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    frames.MAX_HEADER_LIST_SIZE: http2.MAX_BLOCK_BYTES,
}


class Http2:
    """One connection's conversation."""

    def __init__(self, link: Link, shared: Shared) -> None:
        self._link = link
        self._shared = shared
        self._blocks = HeaderBlocks(shared.policies)
        self._lookups: dict[int, asyncio.Task[None]] = {}
        self._unended: set[int] = set()
        self._connection = http2.Connection(SETTINGS, WINDOW_BYTES)
        self._peer = Peer(self._connection, link, self._take)

    @property
    def looking_up(self) -> bool:
        """Whether a look-up is under way."""
        return bool(self._lookups)

    def receive(self, data: bytes) -> None:
        """Take what came, and answer what can be answered at once."""
        self._peer.receive(data)

    def may_write(self, *, writable: bool) -> None:
        """Read no more from a caller who does not read."""
        self._link.read(reading=writable)

    def finish(self) -> None:
        """Answer what has begun, then hang up."""
        self._peer.finish()

    def lost(self) -> None:
        """Wait no more."""
        self._peer.lost()
        for lookup in self._lookups.values():
            lookup.cancel()

    def _take(self, event: http2.Event) -> None:
        match event:
            case http2.Began(stream, block, ended):
                if not ended:
                    self._unended.add(stream)
                self._ask(stream, block)
            case http2.Ended(stream):
                self._unended.discard(stream)
            case http2.Reset(stream):
                self._unended.discard(stream)
                if (lookup := self._lookups.pop(stream, None)) is not None:
                    lookup.cancel()
            case http2.Agreed():
                self._blocks.agreed()
            case http2.Passed(block):
                self._blocks.pass_over(block)
            case http2.Content():
                pass  # a body says nothing of a check

    def _ask(self, stream: int, block: bytes) -> None:
        check, blocks, memo = self._shared.check, self._blocks, self._shared.memo
        key = memo.key(block) if blocks.stateless else None
        asked = None if key is None else memo.asked(key)
        if asked is None:
            attempt, bodiless = blocks.question(block)
            asked = Asked(check.claim(attempt), bodiless)
            if key is not None:
                memo.put(key, asked)
        else:
            attempt = None
        answer = check.remembered(asked.claim)
        if answer is not None:
            self._answer(stream, answer, self._shared.reply_block(answer), bodiless=asked.bodiless)
            return
        # The token of a block that was asked before is read only if somebody must be asked whose it is.
        token = partial(_token, blocks, block, attempt)
        waiting = self._answer_later(stream, check(asked.claim, token), bodiless=asked.bodiless)
        self._lookups[stream] = asyncio.get_running_loop().create_task(waiting)

    async def _answer_later(
        self, stream: int, answering: Coroutine[Any, Any, Answer], *, bodiless: bool
    ) -> None:
        try:
            answer = await answering
            # Not kept: with a lease it is like no other.
            self._answer(stream, answer, reply_block(answer), bodiless=bodiless)
        except Exception:  # noqa: BLE001 - a fault of ours; Envoy must hear of it, and denies what has no answer
            structlog.get_logger().exception("check_failed")
            self._connection.reset(stream, Http2Error.INTERNAL_ERROR)
        del self._lookups[stream]
        self._peer.flush()

    def _answer(self, stream: int, answer: Answer, block: bytes, *, bodiless: bool) -> None:
        if not self._connection.close(stream):
            return
        body = b"" if bodiless else answer.body
        ends = frames.END_HEADERS if body else frames.END_HEADERS | frames.END_STREAM
        data = frames.frame(frames.HEADERS, ends, stream, block)
        if body:
            data += frames.frame(frames.DATA, frames.END_STREAM, stream, body)
        if stream in self._unended:
            self._unended.remove(stream)
            data += frames.reset(stream, Http2Error.NO_ERROR)  # the rest of the request is not wanted (8.1)
        self._connection.send(stream, data, len(body))


def _token(blocks: HeaderBlocks, block: bytes, attempt: Attempt | None) -> BearerToken | None:
    return (blocks.question(block)[0] if attempt is None else attempt).token
