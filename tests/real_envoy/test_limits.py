"""Limits of W&B projects, from clients through Envoy to model servers and back: they count, not we."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.real_envoy.running import Running, chat, eventually, igw_up

CONCURRENCY = 8
CLIENTS = 32
LEASE_SECONDS = 3.0
LARGE = "demo-large"
"""Served by one model server, so that this one counts all that is under way."""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo with three workers of extauth; each test has a project of its own."""
    environment = {
        "IGW_EXTAUTH_WORKERS": "3",
        "IGW_LIMITS_LEASE_SECONDS": str(LEASE_SECONDS),
        "IGW_WANDB_LIMITS_CACHE_SECONDS": "1",
    }
    with igw_up(tmp_path_factory.mktemp("limited"), "--demo", environment=environment) as running:
        yield running


class Project:
    """A project of the demo's team, and who asks for it."""

    def __init__(self, gateway: Running, name: str) -> None:
        self._gateway = gateway
        self.name = f"demo-org/{name}"

    @property
    def headers(self) -> dict[str, str]:
        return self._gateway.headers(
            "wandb-chat", str(self._gateway.ready["tokens"]["wandb"]), **{"OpenAI-Project": self.name}
        )

    @property
    def url(self) -> str:
        return f"{self._gateway.ready['ingress']}/v1/chat/completions"

    def post(self, **more: Any) -> httpx.Response:
        return httpx.post(self.url, json=chat(LARGE, **more), headers=self.headers, timeout=30)

    def may(self, **limits: int | bool | None) -> None:
        """Let the W&B side say what the project may; nothing for a project that does not exist."""
        entity, _, project = self.name.partition("/")
        authority = f"http://127.0.0.1:{self._gateway.option('authority', '--port')}"
        body = {"entity": entity, "project": project, "limits": limits or None}
        httpx.put(f"{authority}/demo/limits", json=body).raise_for_status()

    def seen(self) -> tuple[int, int]:
        """Give how many of its requests the model server has under way, and had at most."""
        seen = self._gateway.seen()["small-c"]["projects"].get(self.name, {})
        return seen.get("in_flight", 0), seen.get("most_at_once", 0)

    @asynccontextmanager
    async def stream(self, client: httpx.AsyncClient, chunks: int) -> AsyncIterator[httpx.Response]:
        """Have a stream under way, a chunk every 50 ms."""
        wishes: dict[str, Any] = {"x-demo-chunks": chunks, "x-demo-chunk-ms": 50}
        body = chat(LARGE, stream=True, **wishes)
        async with client.stream("POST", self.url, json=body, headers=self.headers) as answer:
            yield answer


async def persist(project: Project, client: httpx.AsyncClient, refused: Counter[str]) -> None:
    """Try until one's stream was read to its end, as OpenAI's clients do."""
    while True:
        async with project.stream(client, 10) as answer:
            text = (await answer.aread()).decode()
        if answer.status_code == 200:
            assert text.endswith("data: [DONE]\n\n")
            return
        # A worker that is killed takes what is asked of it along; Envoy asks another, or gives up.
        assert answer.status_code in {429, 503}, text
        refused[answer.json()["error"]["message"]] += 1
        assert int(answer.headers["retry-after"]) >= 1
        await asyncio.sleep(0.1)


async def slots(project: Project, client: httpx.AsyncClient) -> int:
    """Count the free slots, by taking them all at once."""
    taken = await asyncio.gather(*(_status(project, client) for _ in range(CONCURRENCY + 4)))
    assert set(taken) <= {200, 429}
    return taken.count(200)


async def _all_free(project: Project, client: httpx.AsyncClient) -> None:
    """All slots are free, or with the second look, sooner than a lease runs out: an end is told over two processes."""
    free = await slots(project, client)
    if free < CONCURRENCY:
        await asyncio.sleep(0.2)
        free = await slots(project, client)
    assert free == CONCURRENCY


async def _status(project: Project, client: httpx.AsyncClient) -> int:
    async with project.stream(client, 20) as answer:
        await answer.aread()
    return answer.status_code


async def test_never_more_than_the_limit_and_nobody_starves(limited: Running) -> None:
    """32 clients stream, 8 at once at most, and each gets its turn; also when a worker is killed meanwhile.

    What that worker knew is known still: once the leases of lost news have run out, there are 8 slots again.
    """
    project, refused = Project(limited, "streams"), Counter[str]()
    project.may(concurrency=CONCURRENCY)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(persist(project, client, refused))
            await asyncio.sleep(1)
            os.kill(_workers(limited)[0], signal.SIGKILL)
        assert project.seen() == (0, CONCURRENCY)
        assert refused["Concurrency limit reached for requests"] > 0
        await asyncio.sleep(LEASE_SECONDS + 0.5)
        for _ in range(2):
            await _all_free(project, client)
            await asyncio.sleep(0.2)
        assert project.seen() == (0, CONCURRENCY)


def _workers(gateway: Running) -> list[int]:
    """Give the processes that extauth started."""
    pid = gateway.pids["extauth"]
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_client_that_goes_away_frees_its_slot(limited: Running) -> None:
    """At once, and not when its lease runs out."""
    project = Project(limited, "leaving")
    project.may(concurrency=CONCURRENCY)
    async with httpx.AsyncClient(timeout=60) as client:
        for _ in range(3):
            async with asyncio.timeout(LEASE_SECONDS / 2), asyncio.TaskGroup() as tasks:
                for _ in range(CONCURRENCY):
                    tasks.create_task(_leave(project, client))
            await asyncio.sleep(0.2)
    assert (
        0 < project.seen()[1] <= CONCURRENCY
    )  # those that leave first may be gone before the last ones come


async def _leave(project: Project, client: httpx.AsyncClient) -> None:
    while True:
        async with project.stream(client, 2000) as answer:
            if answer.status_code == 200:
                async for _ in answer.aiter_lines():
                    return
        assert answer.status_code == 429  # one that left is still being told of
        await asyncio.sleep(0.05)


async def test_a_stream_longer_than_its_lease_holds_its_slot(limited: Running) -> None:
    """Envoy tells of what goes on."""
    project = Project(limited, "long")
    project.may(concurrency=1)
    async with httpx.AsyncClient(timeout=60) as client, project.stream(client, 2000) as answer:
        assert answer.status_code == 200
        began = time.monotonic()
        while time.monotonic() - began < LEASE_SECONDS + 1.5:
            assert (await asyncio.to_thread(project.post)).status_code == 429
            await asyncio.sleep(0.25)
    eventually(lambda: project.post().status_code == 200, 1.5)


def test_tokens_are_charged_as_used(limited: Running) -> None:
    """Of a whole answer and of a stream that tells its usage; what is left is told, and then nothing is."""
    project = Project(limited, "tokens")
    project.may(tokensPerMinute=200)
    answer = project.post(**{"x-demo-chunks": 40})
    used = answer.json()["usage"]["total_tokens"]
    assert (answer.headers["x-ratelimit-limit-tokens"], used > 40) == ("200", True)
    eventually(lambda: _left(project) <= 200 - used + 20)
    project.post(stream=True, stream_options={"include_usage": True}, **{"x-demo-chunks": 400})
    eventually(lambda: project.post().status_code == 429)
    refused = project.post()
    assert refused.json()["error"]["message"] == "Rate limit reached for tokens per minute"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    assert 1 <= int(refused.headers["retry-after"]) <= 180


def _left(project: Project) -> int:
    return int(project.post(**{"x-demo-chunks": 1}).headers["x-ratelimit-remaining-tokens"])


def test_requests_a_minute(limited: Running) -> None:
    """Each answer tells what is left; the one too many is refused, and says when to come back."""
    project = Project(limited, "requests")
    project.may(requestsPerMinute=3)
    left = [project.post().headers["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    refused = project.post()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 20


def test_a_quota_used_up_and_a_project_that_is_not_there(limited: Running) -> None:
    """402 in W&B's words, and 403."""
    spent, nowhere = Project(limited, "spent"), Project(limited, "nowhere")
    spent.may(quotaUsedUp=True)
    nowhere.may()
    answer = spent.post()
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        402,
        "You exceeded your current quota, please check your plan and billing details",
    )
    assert (nowhere.post().status_code, nowhere.post().json()["error"]["code"]) == (403, "project_not_found")


def test_what_reaches_the_model_server(limited: Running) -> None:
    """Who asks, and for which project; neither the key nor the slot."""
    project = Project(limited, "told")
    assert project.post().status_code == 200
    headers = dict(limited.seen()["small-c"]["last"]["headers"])
    ours = {name: value for name, value in headers.items() if name.startswith("x-igw-")}
    assert ours == {
        "x-igw-principal": "demo-user",
        "x-igw-organization": "demo-org",
        "x-igw-entity": "demo-org",
        "x-igw-project": project.name,
    }
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("named", "status", "code"),
    [("demo-org", 400, "invalid_project"), ("elsewhere/inference", 403, "project_mismatch")],
)
def test_a_project_that_is_not_the_keys(limited: Running, named: str, status: int, code: str) -> None:
    """It must be a team's of the key's user."""
    headers = {**Project(limited, "x").headers, "OpenAI-Project": named}
    answer = httpx.post(Project(limited, "x").url, json=chat(LARGE), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
