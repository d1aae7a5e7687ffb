"""Streams through the whole gateway: what clients see of them, what is known of them afterwards, and many at a time."""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.real_envoy.running import Running, allocated, chat, eventually, igw_up, resident

LARGE = "demo-large"
"""Served by one model server."""
SMALL = "demo/small"
"""By three."""
CHAT = "/v1/chat/completions"
ASKED: Any = {"stream_options": {"include_usage": True}}
STREAMS, EVENTS, PAUSE_MS = 1000, 20, 1000
OPENING_SECONDS, SETTLED_SECONDS = 7.0, 12.0
MIB = 2**20
COUNTS = (
    "requests",
    "streamed",
    "partial",
    "promptTokens",
    "completionTokens",
    "cachedTokens",
    "totalTokens",
)


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo whose streams all tell their usage."""
    with igw_up(tmp_path_factory.mktemp("telling"), "--demo", "--stream-usage", "all") as running:
        yield running


def counted(gateway: Running) -> dict[str, int]:
    """Give what the collector counted until now."""
    url = f"http://127.0.0.1:{gateway.option('collector', '--ops-port')}/usage"
    totals = httpx.get(url).json()["totals"]
    return {name: totals[name] for name in COUNTS}


def told(gateway: Running, before: dict[str, int]) -> dict[str, int]:
    """Give what was counted since then, of one request at least, once it is told."""
    eventually(lambda: counted(gateway)["requests"] > before["requests"])
    now = counted(gateway)
    return {name: now[name] - before[name] for name in COUNTS}


def one(**counts: int) -> dict[str, int]:
    """Give what is counted of one streamed request."""
    counts["totalTokens"] = counts.get("promptTokens", 0) + counts["completionTokens"]
    return dict.fromkeys(COUNTS, 0) | {"requests": 1, "streamed": 1} | counts


def openai_client(gateway: Running) -> OpenAI:
    """Give OpenAI's own client."""
    headers = {"Host": gateway.host("chat")}
    url = f"{gateway.ready['ingress']}/v1"
    return OpenAI(base_url=url, api_key=gateway.token, default_headers=headers, max_retries=0)


def test_a_client_that_did_not_ask_sees_no_usage(telling: Running) -> None:
    """Each chunk has a choice, as with a server that was not asked; and all is counted."""
    before = counted(telling)
    messages: Any = chat(LARGE)["messages"]
    with openai_client(telling) as client:
        wishes = {"x-demo-chunks": 7, "x-demo-cached": 1}
        chunks = list(
            client.chat.completions.create(model=LARGE, messages=messages, stream=True, extra_body=wishes)
        )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert (len(chunks), len(said.split()), {chunk.usage for chunk in chunks}) == (7 + 2, 7, {None})
    known = told(telling, before)
    assert known == one(promptTokens=known["promptTokens"], completionTokens=7, cachedTokens=1)


def test_a_client_that_asked_sees_it(telling: Running) -> None:
    """It gets the last chunk, and that is what is counted."""
    before = counted(telling)
    messages: Any = chat(LARGE)["messages"]
    with openai_client(telling) as client:
        stream: Any = client.chat.completions.create(model=LARGE, messages=messages, stream=True, **ASKED)
        *chunks, last = list(stream)
    assert all(chunk.choices for chunk in chunks)
    assert last.choices == []
    used = last.usage
    assert told(telling, before) == one(
        promptTokens=used.prompt_tokens, completionTokens=used.completion_tokens
    )


def curl(url: str, body: Any, *headers: str) -> bytes:
    """Give what curl prints."""
    options = [part for header in headers for part in ("-H", header)]
    command = ["curl", "-sSN", *options, "-H", "content-type: application/json", "-d", json.dumps(body), url]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def unnamed(stream: bytes) -> bytes:
    """Take out what differs from answer to answer."""
    return re.sub(rb'"created":\d+', b"", re.sub(rb'"id":"[^"]*"', b"", stream))


@pytest.mark.parametrize("write_bytes", [1, 100_000])
@pytest.mark.parametrize("protocol", ["http1", "http2"])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_all_but_the_extra_event_is_untouched(
    telling: Running, path: str, protocol: str, write_bytes: int
) -> None:
    """Byte for byte, however the model server writes its events."""
    asked = {"model": LARGE, "stream": True, "x-demo-chunks": 5, "x-demo-write-bytes": write_bytes}
    body = asked | ({"prompt": "hello"} if path != CHAT else chat(LARGE))
    direct = curl(f"http://127.0.0.1:{telling.replica_port('small-c')}{path}", body | ASKED)
    extra = re.compile(rb'data: \{[^\n]*"choices":\[\][^\n]*\n\n')
    assert len(extra.findall(direct)) == 1
    headers = [f"{name}: {value}" for name, value in telling.headers("chat").items()]
    before = counted(telling)
    url = f"{telling.ready['ingress']}{path}"
    seen = curl(url, body, *headers, *(["--http2-prior-knowledge"] if protocol == "http2" else []))
    assert unnamed(seen) == unnamed(extra.sub(b"", direct))
    known = told(telling, before)
    assert known == one(promptTokens=known["promptTokens"], completionTokens=5)


async def test_a_client_that_leaves(telling: Running) -> None:
    """What it was sent until then is counted, and that it was not all."""
    before = counted(telling)
    body = asked_for(50, **{"x-demo-hold-after": 6})
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream(
            "POST", f"{telling.ready['ingress']}{CHAT}", json=body, headers=telling.headers("chat")
        ) as answer,
    ):
        events = 0
        async for line in answer.aiter_lines():
            events += line.startswith("data:")
            if events == 6:
                break
    # The first one tells the role, and no text.
    assert told(telling, before) == one(partial=1, completionTokens=5)


def test_a_model_server_that_breaks_off(telling: Running) -> None:
    """The client gets what came, and so much is counted."""
    before = counted(telling)
    assert broken_off(telling, asked_for(50, **{"x-demo-drop-after": 4})).count(b"data:") == 4
    assert told(telling, before) == one(partial=1, completionTokens=3)


def asked_for(words: int, **wishes: int) -> Any:
    """Give a request for a stream of so many words."""
    return {**chat(LARGE, stream=True), "x-demo-chunks": words, **wishes}


def broken_off(gateway: Running, body: Any) -> bytes:
    """Give what came of an answer that has no end."""
    url = f"{gateway.ready['ingress']}{CHAT}"
    seen: list[bytes] = []
    with httpx.stream("POST", url, json=body, headers=gateway.headers("chat")) as answer:
        try:
            seen.extend(answer.iter_raw())
        except httpx.RemoteProtocolError:
            return b"".join(seen)
    raise AssertionError("it has an end")


async def test_a_thousand_slow_streams(telling: Running) -> None:
    """Each gets all of its events, and no part of the gateway keeps more of them with time."""
    before = counted(telling)
    allow(telling, "demo-org/streams", 2 * STREAMS)
    began = time.monotonic()
    sizes, begun = list[dict[str, int]](), list[int]()
    async with asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(slow_stream(telling, number, begun)) for number in range(STREAMS)]
        while sum(stream.done() for stream in streams) < STREAMS // 100:
            await asyncio.sleep(0.5)
            if len(begun) == STREAMS and time.monotonic() - began > SETTLED_SECONDS:
                sizes.append(_memory(telling))
    assert {stream.result() for stream in streams} == {(EVENTS, 0)}
    for name, first in sizes[0].items():
        assert sizes[-1][name] < first + 8 * MIB, (name, sizes[0], sizes[-1])
    eventually(lambda: counted(telling)["requests"] == before["requests"] + STREAMS)
    assert counted(telling)["completionTokens"] == before["completionTokens"] + STREAMS * EVENTS


def allow(gateway: Running, project: str, concurrency: int) -> None:
    """Give a project so many slots, so that extauth is told of each stream as it goes on."""
    entity, _, name = project.partition("/")
    body = {"entity": entity, "project": name, "limits": {"concurrency": concurrency}}
    authority = f"http://127.0.0.1:{gateway.option('authority', '--port')}"
    httpx.put(f"{authority}/demo/limits", json=body).raise_for_status()


async def slow_stream(gateway: Running, number: int, begun: list[int]) -> tuple[int, int]:
    """Read one to its end, and tell when it began; give how many events had text, and how many told usage."""
    await asyncio.sleep(number * OPENING_SECONDS / STREAMS)
    # No model server has to take more connections than it may.
    asked = asked_for(EVENTS, **{"x-demo-chunk-ms": PAUSE_MS}) | ({} if number % 4 == 0 else {"model": SMALL})
    body = json.dumps(asked)
    token = str(gateway.ready["tokens"]["wandb"])
    told_ = gateway.headers("wandb-chat", token, **{"OpenAI-Project": "demo-org/streams"})
    told_ |= {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in told_.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"POST {CHAT} HTTP/1.1\r\n{head}\r\n{body}".encode())
    text = await reader.readline()
    begun.append(number)
    text += await reader.read(-1)
    writer.close()
    assert b"data: [DONE]\n\n" in text, text
    return len(re.findall(rb'"content":"[^"]', text)), text.count(b'"total_tokens"')


def _memory(gateway: Running) -> dict[str, int]:
    """Give what memory Envoy uses, and extauth has with its workers, in bytes."""
    extauth = [gateway.pids["extauth"], *_children(gateway.pids["extauth"])]
    return {"envoy": allocated(gateway), "extauth": sum(map(resident, extauth))}


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
