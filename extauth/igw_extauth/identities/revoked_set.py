"""Revocations that hosts tell each other of through Redis: a sorted set of digests, and a channel for what is new.

The set is read anew at each connect and after each quiet while, so a message that was lost is made up for, and what a
restarted Redis no longer knows is written to it again by who remembers it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from igw_extauth.identities.revocations import MOST, Revocations
from igw_extauth.outage import OutageLog
from igw_extauth.timing import Clock

NAME = "igw:revoked"
"""Of the set (digest in hex -> when it lapses, in seconds since 1970) and of the channel (digest in hex)."""
DIGEST_BYTES = 32
POLL_SECONDS = 5.0
RETRY_SECONDS = 0.5
TIMEOUT_SECONDS = 1.0

Tell = Callable[[frozenset[bytes]], None]

_FAILURES = (RedisError, OSError, TimeoutError)


class RevokedSet:
    """The set in Redis and `table`, kept the same."""

    def __init__(self, client: "Redis", table: Revocations, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._tell: Tell = lambda _: None
        self._outages = OutageLog(what="revoked_set")
        self.read = asyncio.Event()
        """Set once the set was read."""

    async def add(self, digest: bytes, until: float) -> None:
        """Tell the others; if Redis fails they are told when it is back."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._write({digest: until})
                await self._client.publish(NAME, digest.hex())
        except _FAILURES as error:
            self._outages.tell(type(error).__name__, self._clock.now())

    async def follow(self, tell: Tell) -> None:
        """Take what others revoke, for ever; `tell` is told the keys of what is new here."""
        self._tell = tell
        while True:
            try:
                await self._connected()
            except Exception as error:  # noqa: BLE001 - whatever breaks here must not end hearing of revocations
                self._outages.tell(type(error).__name__, self._clock.now())
            await asyncio.sleep(RETRY_SECONDS)

    async def _connected(self) -> None:
        async with self._client.pubsub() as channel:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await channel.subscribe(NAME)
            while True:
                # After the subscription, so that nothing falls in between.
                await self._merge()
                while message := await channel.get_message(timeout=POLL_SECONDS):
                    await self._take(message)

    async def _merge(self) -> None:
        """Write what this host knows, read what the others do."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            ours = self._table.standing(self._clock.wall())
            theirs = await self._everything()
            self._add(theirs)
            if missing := {digest: until for digest, until in ours.items() if digest not in theirs}:
                await self._write(missing)
                for digest in missing:
                    await self._client.publish(NAME, digest.hex())
        self._outages.tell(None, self._clock.now())
        self.read.set()

    async def _take(self, message: dict[str, Any]) -> None:
        digest = _digest(message["data"]) if message["type"] == "message" else None
        if digest is None:
            return
        async with asyncio.timeout(TIMEOUT_SECONDS):
            until = await self._client.zscore(NAME, digest.hex())
        if until is not None:
            self._add({digest: float(until)})

    async def _everything(self) -> dict[bytes, float]:
        now = self._clock.wall()
        members: Any = await self._client.zrange(NAME, f"({now}", "+inf", byscore=True, withscores=True)
        return {digest: until for member, until in members if (digest := _digest(member)) is not None}

    async def _write(self, untils: dict[bytes, float]) -> None:
        """Add to the set, drop what lapsed, and the oldest beyond what a host remembers."""
        async with self._client.pipeline() as pipeline:
            pipeline.zadd(NAME, {digest.hex(): until for digest, until in untils.items()}, gt=True)
            pipeline.zremrangebyscore(NAME, "-inf", self._clock.wall())
            pipeline.zremrangebyrank(NAME, 0, -(MOST + 1))
            await pipeline.execute()

    def _add(self, untils: dict[bytes, float]) -> None:
        now = self._clock.wall()
        news = [self._table.add(digest, until, now) for digest, until in untils.items() if until > now]
        if keys := frozenset[bytes]().union(*news):
            self._tell(keys)


def _digest(member: bytes | str | int) -> bytes | None:
    """Read a digest as hosts write it; None for what is none."""
    try:
        digest = bytes.fromhex(member.decode() if isinstance(member, bytes) else str(member))
    except ValueError:
        return None
    return digest if len(digest) == DIGEST_BYTES else None
