"""Requests of all kinds, to be counted: which there are, how each is asked, and what its client saw of it.

What a client saw it counts itself; the tokens are the model servers' to count.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

UNTOLD = {"include_usage": False}
ON_AND_ON = {"include_usage": True, "continuous_usage_stats": True}
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Gateway:
    """A gateway, its one model, and how clients ask it."""

    name: str
    model: str
    routing: str
    headers: Mapping[str, str]
    """With the token, and the host."""
    projects: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Ask:
    """One request."""

    path: str
    body: Mapping[str, Any] = field(default_factory=dict)
    cut: int | None = None
    """The client leaves after so many events."""
    unknown: bool = False
    """It asks for a model that there is not."""


def asks(count: int) -> Iterator[Ask]:
    """Give requests, always the same ones: two in twenty are cut, three fail or break off."""
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(count):
        yield _ask(chance)


def _ask(chance: random.Random) -> Ask:
    words = {"x-demo-chunks": chance.randint(3, 30), "x-demo-cached": chance.randint(0, 3)}
    options = chance.choice((None, UNTOLD, {"include_usage": True}, ON_AND_ON))
    stream = {**words, "stream": True, "stream_options": options}
    events = chance.randint(1, 3)
    kinds = [
        *[Ask(CHAT, words)] * 5,
        *[Ask(CHAT, stream)] * 5,
        *[Ask("/v1/completions", {**stream, "x-demo-write-bytes": 40})] * 2,
        Ask("/v1/responses", words),
        Ask("/v1/responses", {**words, "stream": True}),
        Ask("/v1/embeddings"),
        *[Ask(CHAT, {**stream, "x-demo-hold-after": events}, cut=events)] * 2,
        Ask(CHAT, {**words, "x-demo-status": chance.choice((400, 429, 500, 503))}),
        Ask(CHAT, {**stream, "x-demo-drop-after": events - 1}),
        Ask(CHAT, words, unknown=True),
    ]
    return chance.choice(kinds)


def request_of(ask: Ask, gateway: Gateway, project: str, url: str) -> httpx.Request:
    """Give the request as it is sent."""
    model = "nobody" if ask.unknown else gateway.model
    text = {"messages": [{"role": "user", "content": "count these words"}], "prompt": "a b", "input": "a b c"}
    headers = {**gateway.headers, **({"OpenAI-Project": project} if project else {})}
    segment = ""
    if gateway.routing == "header":
        headers["x-model-name"] = model
    if gateway.routing == "path":
        segment = f"/{quote(model, safe='')}"
    return httpx.Request(
        "POST", f"{url}{segment}{ask.path}", json={"model": model, **text, **ask.body}, headers=headers
    )


async def seen(ask: Ask, request: httpx.Request, client: httpx.AsyncClient) -> Counter[str]:
    """Send a request, and give what its client counts."""
    counts: Counter[str] = Counter(requests=1)
    answer = await client.send(request, stream=True)
    streamed = answer.headers["content-type"].startswith("text/event-stream")
    counts += Counter(errors=answer.status_code >= 400, streamed=streamed)
    try:
        partial = await _read(answer, ask.cut)
    except httpx.RemoteProtocolError:
        partial = True
    finally:
        await answer.aclose()
    return counts + Counter(partial=partial)


async def _read(answer: httpx.Response, cut: int | None) -> bool:
    """Read an answer, and say whether it was left before its end."""
    text = ""
    async for part in answer.aiter_text():
        text += part
        if cut is not None and text.count("\n\n") >= cut:
            assert text.count("\n\n") == cut
            return True
    return False
