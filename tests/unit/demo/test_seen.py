"""What a model server tells tests about its requests and clients, and what it lets them switch."""

import asyncio
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: Any = [{"role": "user", "content": "hello"}]


async def seen(replica: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await replica.get("/demo/seen")).json()
    return document


async def until(replica: httpx.AsyncClient, key: str, value: int) -> dict[str, Any]:
    """Give what was seen, once a count has a value."""
    async with asyncio.timeout(5):
        while (document := await seen(replica))[key] != value:  # noqa: ASYNC110 - a count over HTTP has no event
            await asyncio.sleep(0.01)
    return document


async def test_seen(replica: httpx.AsyncClient) -> None:
    """Requests are counted by path as sent; the last one is kept with its headers, health checks are not."""
    await replica.post(
        "/v1/chat/completions?a=b", json={"messages": HELLO}, headers={"x-igw-principal": "me"}
    )
    await replica.post("/demo%2Fsmall/v1/chat/completions", json={"messages": HELLO})
    await replica.post(
        "/v1/chat/completions?a=b", json={"messages": HELLO}, headers={"x-igw-principal": "me"}
    )
    await replica.get("/health")
    document = await seen(replica)
    assert document["requests"] == {
        "/v1/chat/completions": 2,
        "/demo%2Fsmall/v1/chat/completions": 1,
        "/health": 1,
        "/demo/seen": 1,
    }
    assert (document["last"]["path"], document["last"]["query"]) == ("/v1/chat/completions", "a=b")
    assert ["x-igw-principal", "me"] in document["last"]["headers"]
    assert (await replica.post("/demo/reset")).json() == {
        "requests": {},
        "in_flight": 0,
        "most_at_once": 0,
        "projects": {},
        "cancelled": 0,
        "cancelled_at": [],
        "told": {},
        "last": None,
    }


async def test_the_most_at_once(replica: httpx.AsyncClient) -> None:
    """Requests under way are counted, in all and by project, and so is the most of them that there was."""
    slow = {"messages": HELLO, "x-demo-delay-ms": 60_000}
    asking = [
        asyncio.ensure_future(
            replica.post("/v1/chat/completions", json=slow, headers={"x-igw-project": name} if name else {})
        )
        for name in ("a/b", "a/b", "a/c", "")
    ]
    await until(replica, "in_flight", 4)
    asking.pop(0).cancel()
    document = await until(replica, "in_flight", 3)
    assert document["most_at_once"] == 4
    assert document["projects"] == {
        "a/b": {"in_flight": 1, "most_at_once": 2},
        "a/c": {"in_flight": 1, "most_at_once": 1},
    }
    for one in asking:
        one.cancel()
    await until(replica, "in_flight", 0)
    fresh = (await replica.post("/demo/reset")).json()
    assert (fresh["most_at_once"], fresh["projects"]) == (0, {})


async def test_projects_seen_are_bounded(replica: httpx.AsyncClient) -> None:
    """Projects beyond the bound are counted together."""
    for number in range(210):
        await replica.get("/v1/models", headers={"x-igw-project": f"a/{number}"})
    assert len((await seen(replica))["projects"]) == 201


async def test_paths_seen_are_bounded(replica: httpx.AsyncClient) -> None:
    """Paths beyond the bound are counted together."""
    for number in range(210):
        await replica.get(f"/{number}")
    assert len((await seen(replica))["requests"]) == 201


@pytest.mark.parametrize(
    "body", [{"stream": True, "x-demo-chunks": 1000, "x-demo-chunk-ms": 10}, {"x-demo-delay-ms": 60_000}]
)
async def test_client_gone(replica: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """A client that goes away, in a stream or before an answer, is noticed at once and counted."""
    asking = asyncio.ensure_future(replica.post("/v1/chat/completions", json={"messages": HELLO} | body))
    await until(replica, "in_flight", 1)
    asking.cancel()
    assert (await until(replica, "in_flight", 0))["cancelled"] == 1


async def test_client_gone_while_asking(replica: httpx.AsyncClient) -> None:
    """A client that goes away in the middle of its request counts as cancelled too."""
    _, writer = await asyncio.open_connection(replica.base_url.host, replica.base_url.port)
    writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{")
    await until(replica, "in_flight", 1)
    writer.close()
    assert (await until(replica, "in_flight", 0))["cancelled"] == 1


async def test_answered_is_not_cancelled(replica: httpx.AsyncClient) -> None:
    """A client that closes after the end of its answer is not counted."""
    async with httpx.AsyncClient(base_url=replica.base_url) as other:
        await other.post("/v1/chat/completions", json={"messages": HELLO, "stream": True})
    assert (await until(replica, "in_flight", 0))["cancelled"] == 0


async def test_health_can_be_switched(replica: httpx.AsyncClient) -> None:
    """A test may make the replica ill and well again."""
    statuses = []
    for healthy in (False, True):
        await replica.post("/demo/health", json={"healthy": healthy})
        statuses.append((await replica.get("/health")).status_code)
    assert statuses == [503, 200]
    assert (await replica.post("/demo/health", content=b"{}")).status_code == 400
