"""Counts in Redis: what one project's scripts are asked and told, one round trip for many.

All keys of a project have its name as their hash tag, so that they would stand together in a cluster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Protocol, assert_never
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from igw_extauth.keeper import Exceeded
from igw_extauth.limits.project import MAX_LEASES, Numbers, Standing, month

CONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ask:
    """May a request of a project pass? It would hold `lease`."""

    project: str
    numbers: Numbers
    lease: str


@dataclass(frozen=True, slots=True)
class Tell:
    """What became of a project's requests. Sent again under the same `number` it charges nothing again."""

    project: str
    number: int
    running: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    tokens: int = 0


Call = Ask | Tell
Reply = Standing | Exception
"""How a project stands, after an `Ask` and a `Tell` alike; or how the call failed, which may have been carried out."""


class _Script:
    def __init__(self, *names: str) -> None:
        folder = files("igw_extauth.limits")
        self.text = "\n".join((folder / name).read_text() for name in names)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class _Commands(Protocol):
    def evalsha(self, sha: str, numkeys: int, *keys_and_args: str) -> Any: ...


class Shared:
    """Redis at `url`; `host` names this keeper among all that share it, and is new each time it starts.

    Time is Redis' own; with `own_time` it is the one that `run` is given, for tests.
    """

    def __init__(self, url: str, host: str, lease_seconds: float, *, own_time: bool = False) -> None:
        self._host = host
        self._lease_seconds = lease_seconds
        self._own_time = own_time
        self._admit = _Script("counts.lua", "admit.lua")
        self._tell = _Script("counts.lua", "tell.lua")
        # One try: who waits for the answer cannot wait for a second, and what is counted must be counted once.
        self._redis: Redis = Redis.from_url(
            url,
            decode_responses=True,
            protocol=2,
            max_connections=1,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    async def connect(self) -> None:
        """Connect, and see to it that Redis has the scripts. Raises RedisError, OSError or TimeoutError."""
        for script in (self._admit, self._tell):
            await self._redis.script_load(script.text)

    async def disconnect(self) -> None:
        """End the connection, so that no late answer is taken for another's."""
        await self._redis.connection_pool.disconnect(inuse_connections=True)

    async def aclose(self) -> None:
        """End for good."""
        await self._redis.aclose()

    async def run(self, now: float, calls: Sequence[Call]) -> list[Reply]:
        """Make calls in their order; `now` in seconds since 1970 (UTC). Gives a reply to each.

        Raises RedisError, OSError or TimeoutError when it is not known what became of them.
        """
        async with self._redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                self._add(pipeline, now, call)
            replies = await pipeline.execute(raise_on_error=False)
        return [_reply(reply) for reply in replies]

    def _add(self, pipeline: _Commands, now: float, call: Call) -> None:
        tag = f"igw:limits:{{{quote(call.project, safe='/', errors='surrogatepass')}}}"
        keys = [f"{tag}:leases", f"{tag}:buckets", f"{tag}:quota:{month(now)}"]
        given = [repr(now) if self._own_time else "", repr(self._lease_seconds), str(MAX_LEASES)]
        match call:
            case Ask(_, n, lease):
                limits = (n.concurrency, n.requests_per_minute, n.tokens_per_minute, n.quota_tokens)
                given += [lease, *("" if limit is None else str(limit) for limit in limits)]
                pipeline.evalsha(self._admit.digest, 3, *keys, *given)
            case Tell(_, number, running, ended, tokens):
                keys.append(f"{tag}:heard:{self._host}")
                given += [str(number), str(tokens), str(len(running)), *running, *ended]
                pipeline.evalsha(self._tell.digest, 4, *keys, *given)
            case _:
                assert_never(call)


def _reply(reply: Any) -> Reply:
    match reply:
        case Exception():
            return reply
        case [str(met), str(requests), str(tokens)]:
            return Standing(Exceeded(met) if met else None, _level(requests), _level(tokens))
        case _:
            return Standing(None)


def _level(text: str) -> float | None:
    return float(text) if text else None
