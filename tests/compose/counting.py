"""Clients that count: what became of every request, to which replica it went and how long it took.

They do what a load balancer in front of two Envoys does: an Envoy that refuses a connection is left out, and the
request, which was not sent, goes to the other; one that closes or breaks its connections is left out for a while (the
kernel takes connections for a killed process until it is all gone). Everything that was sent and not answered with 200
has failed.
"""

import asyncio
import itertools
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.real_envoy.running import AS_FORM, TRANSCRIPTIONS, form

CLIENTS = 8
WORK_MS = 20
"""How long the demo's model server takes for an answer: so some requests are always under way."""
TIMEOUT_SECONDS = 15.0
CONNECT_SECONDS = 0.5
LEFT_OUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Which gateway is asked, by its host name, with which token, for which model; by a form, or in JSON.

    `trust` is who may have signed for the host name.
    """

    host: str
    token: str = field(repr=False)
    trust: ssl.SSLContext
    model: str
    form: bool = False

    @property
    def content(self) -> tuple[str, str, bytes]:
        """Give path, type and body."""
        if self.form:
            return TRANSCRIPTIONS, AS_FORM["Content-Type"], form(self.model)
        body = json.dumps({"model": self.model, "messages": [{"role": "user", "content": "Hello"}]})
        return "/v1/chat/completions", "application/json", body.encode()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it was sent (Unix seconds), how long it took, who answered, and what went wrong."""

    sent: float
    seconds: float
    replica: str
    failure: str = ""

    @property
    def ended(self) -> float:
        """Give when it was answered, or failed."""
        return self.sent + self.seconds


@dataclass
class Tally:
    """All outcomes so far."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> Sequence[Outcome]:
        """Give those that failed."""
        return [outcome for outcome in self.outcomes if outcome.failure]

    @property
    def reasons(self) -> Counter[str]:
        """Give what went wrong, and how often."""
        return Counter(outcome.failure for outcome in self.failures)

    @property
    def slowest(self) -> float:
        """Give the seconds of the slowest answer."""
        return max((outcome.seconds for outcome in self.outcomes if not outcome.failure), default=0.0)

    def replicas(self, since: float = 0.0) -> Counter[str]:
        """Count the answers by replica, those of requests that were sent since a moment."""
        return Counter(o.replica for o in self.outcomes if not o.failure and o.sent >= since)

    def first_answer(self, replicas: Iterable[str]) -> float:
        """Give when one of these replicas first answered, in Unix seconds; infinity when none did."""
        wanted = set(replicas)
        return min((o.ended for o in self.outcomes if o.replica in wanted), default=float("inf"))

    @property
    def failing_seconds(self) -> float:
        """Give the time from the first failure to the last."""
        ends = [outcome.ended for outcome in self.failures]
        return max(ends) - min(ends) if ends else 0.0


@asynccontextmanager
async def load(  # noqa: PLR0913 - what is asked, by whom and how many
    addresses: Callable[[], Sequence[str]],
    token: str,
    trust: ssl.SSLContext,
    *,
    host: str = "localhost",
    model: str = "demo/small",
    form: bool = False,
    clients: int = CLIENTS,
) -> AsyncIterator[Tally]:
    """Keep asking a gateway for a model, through the Envoys at these addresses in turn, while the context is open.

    Over HTTPS, as whom `trust` has signed for.
    """
    asked = Asked(host, token, trust, model, form)
    tally, stop = Tally(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(_client(addresses, number, asked, tally, stop))
        try:
            yield tally
        finally:
            stop.set()


async def _client(
    addresses: Callable[[], Sequence[str]], number: int, asked: Asked, tally: Tally, stop: asyncio.Event
) -> None:
    path, content_type, body = asked.content
    headers = {
        "host": asked.host,
        "authorization": f"Bearer {asked.token}",
        "content-type": content_type,
        "x-demo-delay-ms": str(WORK_MS),
    }
    async with httpx.AsyncClient(
        timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS), headers=headers, verify=asked.trust
    ) as client:
        leaving: dict[str, float] = {}
        for turn in itertools.count(number):
            if stop.is_set():
                return
            known = addresses()
            in_turn = [known[(turn + shift) % len(known)] for shift in range(len(known))]
            in_turn.sort(key=lambda at: leaving.get(at, 0) > time.monotonic())
            tally.outcomes.append(await _ask(client, in_turn, (asked.host, path, body), leaving))


async def _ask(
    client: httpx.AsyncClient,
    addresses: Sequence[str],
    request: tuple[str, str, bytes],
    leaving: dict[str, float],
) -> Outcome:
    host, path, body = request
    sent, began, failure, replica = time.time(), time.monotonic(), "no Envoy takes a connection", ""
    for at in addresses:
        try:
            answer = await client.post(f"https://{at}{path}", content=body, extensions={"sni_hostname": host})
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
        except httpx.HTTPError as error:
            failure = repr(error)
            leaving[at] = time.monotonic() + LEFT_OUT_SECONDS
        else:
            failure = "" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:120]}"
            replica = answer.headers.get("x-demo-replica", "")
            if answer.headers.get("connection") == "close":
                leaving[at] = time.monotonic() + LEFT_OUT_SECONDS
        break
    return Outcome(sent, time.monotonic() - began, replica, failure)
