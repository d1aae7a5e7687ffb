"""The model server, asked over real connections by the `openai` package and by plain HTTP."""

import asyncio
import json
from typing import Any

import httpx
import openai as openai_errors
import pytest
from igw_demo import client as client_module
from igw_demo.model_server import ModelServer, ModelSettings, serve_model
from igw_demo.serving import running
from openai import AsyncOpenAI

from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello there"}]
SAID = "I am small-a of small-stable. You said: hello there"


async def test_chat(openai: AsyncOpenAI) -> None:
    """An answer names replica and deployment, repeats the user's last words, and counts words as tokens."""
    answer = await openai.chat.completions.create(model="demo/small", messages=HELLO)
    assert answer.choices[0].message.content == SAID
    assert (answer.choices[0].finish_reason, answer.model, answer.object) == (
        "stop",
        "demo/small",
        "chat.completion",
    )
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        4,
        9,
        13,
    )


async def test_chat_of_parts(openai: AsyncOpenAI) -> None:
    """Text parts of a message are its text; other parts are ignored."""
    parts: Any = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "text", "text": "this"},
    ]
    answer = await openai.chat.completions.create(
        model="other", messages=[{"role": "user", "content": parts}]
    )
    assert answer.choices[0].message.content == "I am small-a of small-a. You said: what is this"


async def test_chat_stream(openai: AsyncOpenAI) -> None:
    """A streamed answer's deltas are, joined, the plain answer; it ends with a finish reason and no usage."""
    stream = await openai.chat.completions.create(model="demo/small", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert all(chunk.usage is None for chunk in chunks)


async def test_chat_stream_with_usage(openai: AsyncOpenAI) -> None:
    """With include_usage, one more chunk without choices carries the counts of the plain answer."""
    stream = await openai.chat.completions.create(
        model="demo/small", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (4, 9)
    assert all(chunk.usage is None for chunk in chunks)


async def test_completion(openai: AsyncOpenAI) -> None:
    """Completions answer a prompt in their own shape, plain and streamed."""
    plain = await openai.completions.create(model="demo-large", prompt="once upon")
    assert plain.choices[0].text == "I am small-a of large. You said: once upon"
    assert plain.object == "text_completion"
    stream = await openai.completions.create(
        model="demo-large", prompt=["a", "once upon"], stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == plain.choices[0].text
    assert last.usage is not None
    assert last.usage.prompt_tokens == 3


async def test_embeddings(openai: AsyncOpenAI) -> None:
    """The same text has the same vector of length one, whether sent as floats or in base64."""
    packed = await openai.embeddings.create(model="demo/small", input=["one", "two words"])
    floats = await openai.embeddings.create(model="demo/small", input="one", encoding_format="float")
    longer = await openai.embeddings.create(model="demo/small", input=[1, 2, 3], dimensions=5)
    assert packed.data[0].embedding == pytest.approx(floats.data[0].embedding)
    assert packed.data[0].embedding != pytest.approx(packed.data[1].embedding)
    assert sum(number**2 for number in floats.data[0].embedding) == pytest.approx(1)
    assert ([len(item.embedding) for item in packed.data], len(longer.data[0].embedding)) == ([8, 8], 5)
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens) == (3, 3)


async def test_models(openai: AsyncOpenAI) -> None:
    """The list of models is that of the settings; each is owned by its deployment."""
    listed = [(model.id, model.owned_by) async for model in openai.models.list()]
    assert listed == [("demo/small", "small-stable"), ("demo-large", "large")]


async def test_echo_is_bounded(openai: AsyncOpenAI) -> None:
    """A long message is repeated only in part; its tokens all count."""
    long: Any = [{"role": "user", "content": "x " * 10_000}]
    answer = await openai.chat.completions.create(model="demo/small", messages=long)
    assert len(answer.choices[0].message.content or "") < 300
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 10_001


@pytest.mark.parametrize("place", ["headers", "body"])
async def test_wishes(openai: AsyncOpenAI, place: str) -> None:
    """Delay, chunks and their pauses are asked for by headers or by body fields of the same names."""
    wishes: dict[str, Any] = {"x-demo-delay-ms": 60, "x-demo-chunks": 4, "x-demo-chunk-ms": 20}
    asked: Any = (
        {"extra_body": wishes}
        if place == "body"
        else {"extra_headers": {k: str(v) for k, v in wishes.items()}}
    )
    clock = asyncio.get_running_loop().time
    begin = clock()
    stream = await openai.chat.completions.create(model="demo/small", messages=HELLO, stream=True, **asked)
    first = clock()
    words = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices[0].delta.content]
    assert words == ["I", " am", " small-a", " of"]
    assert first - begin >= 0.06
    assert clock() - first >= 0.08


async def test_many_words(openai: AsyncOpenAI) -> None:
    """More chunks than the answer has words repeat it; a plain answer has as many words."""
    answer = await openai.chat.completions.create(
        model="demo/small", messages=HELLO, extra_headers={"x-demo-chunks": "1000"}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 1000
    assert len((answer.choices[0].message.content or "").split()) == 1000


async def test_wished_status(openai: AsyncOpenAI) -> None:
    """An error status that is asked for comes as an OpenAI error object."""
    with pytest.raises(openai_errors.InternalServerError) as failure:
        await openai.chat.completions.create(
            model="demo/small", messages=HELLO, extra_headers={"x-demo-status": "503"}
        )
    assert (failure.value.status_code, failure.value.code) == (503, "demo_error")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {}),
        (b"[]", {}),
        (b"{}", {}),
        (b'{"messages": 1}', {}),
        (b"\xff", {}),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', {}),
        (b'{"messages": [], "nested": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}),
        (b'{"messages": []}', {"x-demo-delay-ms": "300001"}),
        (b'{"messages": []}', {"x-demo-chunks": "0"}),
        (b'{"messages": [], "x-demo-status": 200}', {}),
    ],
)
async def test_unreadable(replica: httpx.AsyncClient, body: bytes, headers: dict[str, str]) -> None:
    """What can't be read, or asks for more than the bounds, is 400 with an error object."""
    reply = await replica.post("/v1/chat/completions", content=body, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_request"


async def test_body_is_bounded(replica: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body above the bound is 413, and the connection is still good."""
    assert client_module.MAX_BODY_BYTES == 64 * 1024 * 1024
    monkeypatch.setattr(client_module.Client.body, "__defaults__", (100_000,))
    reply = await replica.post("/v1/chat/completions", content=b" " * 1_000_000)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
    assert (await replica.get("/health")).status_code == 200


async def test_every_response_names_the_replica(replica: httpx.AsyncClient) -> None:
    """The header x-demo-replica is on answers, streams, errors and health checks alike."""
    stream = {"messages": HELLO, "stream": True}
    replies = [
        await replica.get("/health"),
        await replica.get("/v1/models"),
        await replica.get("/nowhere"),
        await replica.get("/demo/seen"),
        await replica.post("/v1/chat/completions", content=b"{"),
        await replica.post("/v1/chat/completions", json=stream),
    ]
    assert {reply.headers["x-demo-replica"] for reply in replies} == {"small-a"}
    assert [reply.status_code for reply in replies] == [200, 200, 404, 200, 400, 200]
    assert replies[-1].text.endswith("data: [DONE]\n\n")


async def test_serves_until_stopped() -> None:
    """`serve_model` listens where the settings say, and ends when it is asked to."""
    port = free_port()
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks, httpx.AsyncClient() as client:
        tasks.create_task(serve_model(ModelSettings("small-a", port=port), stop))
        await asyncio.sleep(0)
        assert (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200
        stop.set()


async def test_one_that_leaves_says_so_and_serves_on() -> None:
    """Told to stop, it closes each connection with its answer and tells Envoy to send nothing more."""
    server = ModelServer(ModelSettings("small-a"))
    async with running(server) as at, httpx.AsyncClient(base_url=at.url) as client:
        assert (await client.get("/health")).status_code == 200
        server.leave()
        answers = [await client.get(path) for path in ("/health", "/v1/models")]
    assert [answer.status_code for answer in answers] == [503, 200]
    for answer in answers:
        assert answer.headers["x-envoy-immediate-health-check-fail"] == "true"
        assert answer.headers["connection"] == "close"


async def test_taken_port() -> None:
    """A port that is taken is an OSError, not a server that nobody reaches."""
    async with running(ModelServer(ModelSettings("a"))) as address:
        with pytest.raises(OSError, match="in use"):
            await serve_model(ModelSettings("b", port=address.port), asyncio.Event())


async def test_stream_is_framed_as_events(replica: httpx.AsyncClient) -> None:
    """Each chunk is one `data:` event with one JSON object, as the Server-Sent Events format asks."""
    reply = await replica.post("/v1/chat/completions", json={"messages": HELLO, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = reply.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert all(json.loads(event.removeprefix("data: "))["created"] == 1_700_000_000 for event in events)


async def test_answers_do_not_wait_for_acknowledgement(replica: httpx.AsyncClient) -> None:
    """Head and body leave at once: one connection gets many answers in the time of a delayed ACK each."""
    clock = asyncio.get_running_loop().time
    begin = clock()
    for _ in range(50):
        await replica.get("/v1/models")
    assert clock() - begin < 50 * 0.03
