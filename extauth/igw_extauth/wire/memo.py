"""What header blocks asked, remembered under a keyed hash: neither a block nor a token is kept."""

from collections import OrderedDict
from hashlib import blake2b
from typing import NamedTuple

from igw_extauth.check import Claim


class Asked(NamedTuple):
    """What a check asks, as far as it may be kept; `bodiless` for HEAD."""

    claim: Claim
    bodiless: bool


class Memo:
    """The `entries` blocks that were asked last.

    `secret` keys the hash (16 to 64 random bytes, new for each process): a dump of the memo tells no tokens.
    """

    def __init__(self, *, secret: bytes, entries: int) -> None:
        self._secret = secret
        self._entries = entries
        self._asked: OrderedDict[bytes, Asked] = OrderedDict()

    def key(self, block: bytes) -> bytes:
        """Give the key of a block, which must mean the same on every connection."""
        return blake2b(block, key=self._secret, digest_size=32).digest()

    def asked(self, key: bytes) -> Asked | None:
        """Give what the block with this key asks, if it is remembered."""
        asked = self._asked.get(key)
        if asked is not None:
            self._asked.move_to_end(key)
        return asked

    def put(self, key: bytes, asked: Asked) -> None:
        """Remember what a block asks."""
        self._asked[key] = asked
        if len(self._asked) > self._entries:
            self._asked.popitem(last=False)
