"""Tokens that an operator revoked: they are unknown, whatever their authority says. Pure.

By the digest, under which a token was named to us, and by the keys that its digest has (`igw_extauth.hashing`). Times
are seconds since 1970: hosts tell each other of them.
"""

from collections import OrderedDict
from collections.abc import Callable

from igw_model.policy import Provider

from igw_extauth import hashing
from igw_extauth.identities.freshness import Freshness

MOST = 10_000
"""Revocations remembered at once; beyond, the oldest is dropped: its token is its authority's alone to refuse."""
LEAST_SECONDS = 3600.0


def revoked_seconds(freshness: Freshness) -> float:
    """Give how long a revocation holds: longer than any answer from before it."""
    return max(LEAST_SECONDS, freshness.seconds)


def all_keys(secret: bytes) -> Callable[[bytes], frozenset[bytes]]:
    """Give the function from a digest to its keys at all providers."""
    return lambda digest: frozenset(hashing.key(provider, digest, secret) for provider in Provider)


class Revocations:
    """The revocations that one host knows of; `keys` gives all keys of a digest."""

    def __init__(self, keys: Callable[[bytes], frozenset[bytes]], most: int = MOST) -> None:
        self._keys = keys
        self._most = most
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._digests: dict[bytes, bytes] = {}

    def add(self, digest: bytes, until: float, now: float) -> frozenset[bytes]:
        """Revoke a token until then; give its keys if that is news."""
        known = self._until.pop(digest, now)
        self._until[digest] = max(known, until)
        if known > now:
            return frozenset()
        keys = self._keys(digest)
        self._digests |= dict.fromkeys(keys, digest)
        if len(self._until) > self._most:
            self._drop(next(iter(self._until)))
        return keys

    def revoked(self, key: bytes, now: float) -> bool:
        """Say whether the token under a key is revoked."""
        digest = self._digests.get(key)
        if digest is None:
            return False
        if now < self._until[digest]:
            return True
        self._drop(digest)
        return False

    def standing(self, now: float) -> dict[bytes, float]:
        """Give the digests that are revoked, and until when."""
        for digest in [digest for digest, until in self._until.items() if until <= now]:
            self._drop(digest)
        return dict(self._until)

    def _drop(self, digest: bytes) -> None:
        del self._until[digest]
        for key in self._keys(digest):
            del self._digests[key]
