"""What both versions of HTTP are told and tell: what connections share, their socket, and what it asks of them."""

import secrets
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from igw_extauth.answer import Answer
from igw_extauth.check import Check
from igw_extauth.wire.header_block import reply_block
from igw_extauth.wire.http_reply import reply
from igw_extauth.wire.http_request import Policies
from igw_extauth.wire.memo import Memo

REMEMBERED_REPLIES = 10_000
REMEMBERED_BLOCKS = 10_000


class Shared:
    """What the connections of one server have in common."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self.policies = Policies()
        self.memo = Memo(secret=secrets.token_bytes(32), entries=REMEMBERED_BLOCKS)
        # Writing the same bytes anew costs more than finding them.
        self.reply: Callable[[Answer, bool, bool], bytes] = lru_cache(REMEMBERED_REPLIES)(reply_once)
        self.reply_block: Callable[[Answer], bytes] = lru_cache(REMEMBERED_REPLIES)(reply_block)
        self.finishing = False


def reply_once(answer: Answer, bodiless: bool, last: bool) -> bytes:  # noqa: FBT001 - lru_cache is cheaper by position
    """Write a reply that is not to be remembered: one with a lease is like no other."""
    return reply(answer, bodiless=bodiless, last=last)


class Link(Protocol):
    """A connection's socket."""

    def write(self, data: bytes) -> None:
        """Send bytes; the connection is then not idle."""
        ...

    def close(self) -> None:
        """End the connection behind what was written."""
        ...

    def abort(self) -> None:
        """End the connection at once."""
        ...

    def read(self, *, reading: bool) -> None:
        """Read on, or leave what comes with the system."""
        ...


class Conversation(Protocol):
    """What is spoken on a connection."""

    @property
    def looking_up(self) -> bool:
        """Whether somebody waits for an authority: that is bounded elsewhere, and no idleness."""
        ...

    def receive(self, data: bytes) -> None:
        """Take what the caller sent, and answer what can be answered at once."""
        ...

    def may_write(self, *, writable: bool) -> None:
        """Answer no more while the caller does not read; then go on."""
        ...

    def finish(self) -> None:
        """End the connection once what is under way is answered."""
        ...

    def lost(self) -> None:
        """Take the connection's end; look-ups go on, for others and for the cache: only the wait for them ends."""
        ...
