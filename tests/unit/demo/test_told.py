"""What a model server tells of tokens, how a stream of its is cut, and what it counts of both."""

import asyncio
import json
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: Any = {"model": "demo/small", "messages": [{"role": "user", "content": "hello there"}]}
USED: Any = {
    "prompt_tokens": 2,
    "completion_tokens": 9,
    "total_tokens": 11,
    "prompt_tokens_details": {"cached_tokens": 0},
}
NOTHING = {
    "requests": 0,
    "refused": 0,
    "dropped": 0,
    "cut": 0,
    "untold_events": 0,
    "untold_words": 0,
    "told": 0,
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "cached_tokens": 0,
}
CHAT = "/v1/chat/completions"


async def told(replica: httpx.AsyncClient, model: str = "demo/small", **expected: Any) -> None:
    """Wait until a model's counts are so, and nothing but them."""
    wanted = NOTHING | expected
    async with asyncio.timeout(5):
        while True:
            counts = (await replica.get("/demo/seen")).json()["told"].get(model, NOTHING)
            if counts == wanted:
                return
            await asyncio.sleep(0.02)


def chunks(text: str) -> list[Any]:
    """Give the documents of a stream."""
    *events, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


async def test_a_plain_answer_tells_its_tokens(replica: httpx.AsyncClient) -> None:
    """With those that were cached, as the request wished, but never more than the prompt has; all are counted."""
    plain = await replica.post(CHAT, json=HELLO)
    cached = await replica.post(CHAT, json=HELLO | {"x-demo-cached": 1})
    more = await replica.post(CHAT, json=HELLO, headers={"x-demo-cached": "100"})
    details = [answer.json()["usage"].pop("prompt_tokens_details") for answer in (plain, cached, more)]
    assert plain.json()["usage"] == USED
    assert details == [{"cached_tokens": 0}, {"cached_tokens": 1}, {"cached_tokens": 2}]
    await told(replica, requests=3, told=3, prompt_tokens=6, completion_tokens=27, cached_tokens=3)


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"continuous_usage_stats": True}])
async def test_a_stream_tells_only_who_asks(replica: httpx.AsyncClient, options: Any) -> None:
    """Without include_usage no chunk has the key, and nothing counts as told but its events."""
    answer = await replica.post(CHAT, json=HELLO | {"stream": True, "stream_options": options})
    assert not [chunk for chunk in chunks(answer.text) if "usage" in chunk]
    await told(replica, requests=1, untold_events=12, untold_words=9)


async def test_a_stream_that_tells(replica: httpx.AsyncClient) -> None:
    """Null in every chunk but the last, which has no choices."""
    answer = await replica.post(
        CHAT, json=HELLO | {"stream": True, "stream_options": {"include_usage": True}}
    )
    *first, last = chunks(answer.text)
    assert [chunk["usage"] for chunk in first] == [None] * 11
    assert (last["choices"], last["usage"]) == ([], USED)
    await told(replica, requests=1, told=1, prompt_tokens=2, completion_tokens=9)


async def test_a_stream_that_tells_on_and_on(replica: httpx.AsyncClient) -> None:
    """As vLLM does it: the tokens so far in every chunk, 0 with the role; one answer counts once."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    answer = await replica.post(CHAT, json=HELLO | {"stream": True, "stream_options": options})
    numbers = [chunk["usage"]["completion_tokens"] for chunk in chunks(answer.text)]
    assert numbers == [*range(10), 9, 9]
    completion = await replica.post(
        "/v1/completions",
        json={"model": "demo/small", "prompt": "a", "stream": True, "stream_options": options},
    )
    assert chunks(completion.text)[0]["usage"]["completion_tokens"] == 1
    await told(replica, requests=2, told=2, prompt_tokens=3, completion_tokens=17)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"include_usage": True}, {"untold_events": 4, "untold_words": 3}),
        (
            {"include_usage": True, "continuous_usage_stats": True},
            {"told": 1, "prompt_tokens": 2, "completion_tokens": 3},
        ),
    ],
    ids=["untold", "continuous"],
)
async def test_a_stream_that_is_cut(
    replica: httpx.AsyncClient, options: Any, expected: dict[str, int]
) -> None:
    """Held after so many events until the client leaves; what was told until then counts, else the events do."""
    body = HELLO | {"stream": True, "stream_options": options, "x-demo-hold-after": 4}
    async with replica.stream("POST", CHAT, json=body) as answer:
        lines = answer.aiter_lines()
        got = [await anext(lines) for _ in range(8)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(lines), 0.2)
    assert len([line for line in got if line]) == 4
    await told(replica, "demo/small", requests=1, cut=1, **expected)
    seen = (await replica.get("/demo/seen")).json()
    assert (seen["cancelled"], len(seen["cancelled_at"])) == (1, 1)


@pytest.mark.parametrize("stream", [True, False])
async def test_nothing_is_sent_of_an_answer_that_is_held_at_once(
    replica: httpx.AsyncClient, *, stream: bool
) -> None:
    """A stream has its head; another answer has not even that."""
    body = HELLO | {"stream": stream, "x-demo-hold-after": 0}
    asking = asyncio.ensure_future(replica.send(replica.build_request("POST", CHAT, json=body), stream=True))
    if stream:
        await (await asking).aclose()
    else:
        done, _ = await asyncio.wait([asking], timeout=0.3)
        assert not done
        asking.cancel()
    await told(replica, requests=1, cut=1)


@pytest.mark.parametrize(("stream", "events"), [(False, 0), (True, 0), (True, 3)])
async def test_a_connection_that_is_dropped(replica: httpx.AsyncClient, *, stream: bool, events: int) -> None:
    """Before the first byte, or after so many events."""
    request = replica.build_request(
        "POST", CHAT, json=HELLO | {"stream": stream, "x-demo-drop-after": events}
    )
    got: list[bytes] = []
    with pytest.raises(httpx.RemoteProtocolError):
        await _read(replica, request, got)
    assert b"".join(got).count(b"\n\n") == events
    words = max(events - 1, 0)
    await told(replica, requests=1, dropped=1, untold_events=events, untold_words=words)


async def _read(replica: httpx.AsyncClient, request: httpx.Request, got: list[bytes]) -> None:
    async for part in (await replica.send(request, stream=True)).aiter_bytes():
        got.append(part)  # noqa: PERF401 - what came before the failure counts


async def test_an_error_tells_nothing(replica: httpx.AsyncClient) -> None:
    """It counts as refused."""
    assert (await replica.post(CHAT, json=HELLO | {"x-demo-status": 500})).status_code == 500
    await told(replica, requests=1, refused=1)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_in_pieces(replica: httpx.AsyncClient, *, stream: bool) -> None:
    """The bytes are the same, and come in several reads of at most so many."""
    body = HELLO | {"stream": stream, "stream_options": {"include_usage": True}}
    whole = await replica.post(CHAT, json=body)
    async with replica.stream("POST", CHAT, json=body, headers={"x-demo-write-bytes": "50"}) as answer:
        parts = [part async for part in answer.aiter_raw()]
    assert _without_ids(b"".join(parts)) == _without_ids(whole.content)
    assert {len(part) <= 50 for part in parts} == {True}
    await told(replica, requests=2, told=2, prompt_tokens=4, completion_tokens=18)


def _without_ids(text: bytes) -> list[bytes]:
    """Leave out the ids, of which each answer has its own."""
    return [part for part in text.split(b'"') if b"chatcmpl" not in part]


async def test_models_told_of_are_bounded(replica: httpx.AsyncClient) -> None:
    """Models beyond the bound are counted together."""
    for number in range(210):
        await replica.post("/v1/embeddings", json={"model": f"m-{number}", "input": "a b"})
    await told(replica, "m-0", requests=1, told=1, prompt_tokens=2)
    await told(replica, "(other)", requests=10, told=10, prompt_tokens=20)
