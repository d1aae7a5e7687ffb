"""What the workers of a host ask the one that keeps identities and counts for all of them: messages and a protocol.

A worker answers what it remembers; for anything else it asks the keeper, which stands in the same process when there
is one worker, and else at the other end of a socket (`igw_extauth.host.pipe`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from igw_model.policy import Provider

from igw_extauth.identity import Identity
from igw_extauth.secret import BearerToken


@dataclass(frozen=True, slots=True)
class Vouched:
    """An identity, and how many seconds it may be remembered; 0 for an answer to this question alone.

    `refresh_seconds` is when to ask again, in the background, if it is still used; not after `seconds`.
    """

    identity: Identity
    seconds: float
    refresh_seconds: float


@dataclass(frozen=True, slots=True)
class Level:
    """How far a limit is used up: `limit` and what is left of it, and the seconds until all of it is there again."""

    limit: int
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Levels:
    """A project's limits on requests and tokens in a minute; None where there is none."""

    requests: Level | None = None
    tokens: Level | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request may pass and holds a slot, `lease`, until it is reported `Ended` or not heard of for long."""

    lease: str
    levels: Levels


class Exceeded(StrEnum):
    """Which limit a request met."""

    CONCURRENCY = "concurrency"
    REQUESTS = "requests"
    TOKENS = "tokens"
    QUOTA = "quota"
    UNKNOWN_PROJECT = "unknown_project"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Held:
    """A request may not pass; asked again after `retry_seconds` it may."""

    limit: Exceeded
    retry_seconds: float
    levels: Levels


Admission = Admitted | Held


@dataclass(frozen=True, slots=True)
class Running:
    """A request goes on: its slot is held for as long again."""

    project: str
    lease: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A request is over: its slot is free, and what it used is charged."""

    project: str
    lease: str
    tokens: int = 0


Event = Running | Ended


class Keeper(Protocol):
    """Keeps identities and counts."""

    async def identify(self, provider: Provider, key: bytes, token: BearerToken) -> Vouched:
        """Give a token's identity; `key` is its keyed hash (`igw_extauth.hashing`). An outage is `Unavailable`."""
        ...

    async def admit(self, project: str) -> Admission:
        """Take a slot for a request of a project, and count it, if all of its limits allow that."""
        ...

    def report(self, events: Sequence[Event]) -> None:
        """Take what became of requests, in their order; never waits."""
        ...
