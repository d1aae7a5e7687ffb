"""The real `openai` package, through gateways of all three kinds: only its own settings say where and how to ask.

A body gateway needs `base_url` alone, a header gateway `default_headers`, a path gateway the model in `base_url`.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.real_envoy.running import Running

MODEL = "demo/small"
HELLO: Any = [{"role": "user", "content": "hello"}]
ASK: Any = {"model": MODEL, "messages": HELLO}
STREAM: Any = ASK | {"stream": True}
WITH_USAGE: Any = STREAM | {"stream_options": {"include_usage": True}}
SAID = "You said: hello"
SOUND = ("speech.wav", b"RIFF" * 50_000)
HEARD = "I heard 200000 bytes of speech.wav."


@dataclass(frozen=True)
class Way:
    """How a client of a gateway is set up."""

    gateway: str
    segment: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def options(self, running: Running) -> dict[str, Any]:
        """Give the options of a client; the host's name goes in a header, since not every machine resolves it."""
        return {
            "base_url": f"{running.ready['ingress']}{self.segment}/v1",
            "api_key": running.token,
            "default_headers": {"Host": running.host(self.gateway), **self.headers},
            "max_retries": 0,
        }


WAYS = {
    "body": Way("chat"),
    "header": Way("by-header", headers={"X-Model-Name": MODEL}),
    "path": Way("by-path", segment="/demo%2Fsmall"),
}


@pytest.fixture(params=WAYS)
def options(request: pytest.FixtureRequest, gateway: Running) -> dict[str, Any]:
    """Give the options of a client, for each kind of gateway."""
    return WAYS[request.param].options(gateway)


@pytest.fixture
def client(options: dict[str, Any]) -> Iterator[OpenAI]:
    """Give the client that waits."""
    with OpenAI(**options) as client:
        yield client


@pytest_asyncio.fixture
async def patient(options: dict[str, Any]) -> AsyncIterator[AsyncOpenAI]:
    """Give the client that others need not wait for."""
    async with AsyncOpenAI(**options) as client:
        yield client


def test_a_completion(client: OpenAI) -> None:
    """It comes back whole, with its usage."""
    _whole(client.chat.completions.create(**ASK))


async def test_a_completion_asynchronously(patient: AsyncOpenAI) -> None:
    """It comes back whole, with its usage."""
    _whole(await patient.chat.completions.create(**ASK))


def test_a_stream(client: OpenAI) -> None:
    """Several chunks make up the whole, and none tells a usage that was not asked for."""
    _streamed(list(client.chat.completions.create(**STREAM)))


async def test_a_stream_asynchronously(patient: AsyncOpenAI) -> None:
    """Several chunks make up the whole, and none tells a usage that was not asked for."""
    _streamed([chunk async for chunk in await patient.chat.completions.create(**STREAM)])


def test_a_stream_with_usage(client: OpenAI) -> None:
    """One more chunk tells the usage."""
    _told(list(client.chat.completions.create(**WITH_USAGE)))


async def test_a_stream_with_usage_asynchronously(patient: AsyncOpenAI) -> None:
    """One more chunk tells the usage."""
    _told([chunk async for chunk in await patient.chat.completions.create(**WITH_USAGE)])


def test_the_raw_response(client: OpenAI) -> None:
    """Headers and status are to be had, and the same object as without."""
    raw = client.chat.completions.with_raw_response.create(**ASK)
    assert (raw.status_code, raw.headers["content-type"]) == (200, "application/json")
    assert raw.headers["x-demo-replica"].startswith("small-")
    _whole(raw.parse())


async def test_the_raw_response_asynchronously(patient: AsyncOpenAI) -> None:
    """Headers and status are to be had, and the same object as without; also of a stream, before it is read."""
    raw = await patient.chat.completions.with_raw_response.create(**ASK)
    assert raw.headers["x-demo-replica"].startswith("small-")
    _whole(raw.parse())
    async with patient.chat.completions.with_streaming_response.create(**STREAM) as streamed:
        assert streamed.headers["content-type"].startswith("text/event-stream")
        _streamed([chunk async for chunk in await streamed.parse()])


def test_a_text_completion(client: OpenAI) -> None:
    """The older API is routed as the newer."""
    answer = client.completions.create(model=MODEL, prompt="hello")
    assert answer.choices[0].text.endswith(SAID)


def test_a_response(client: OpenAI) -> None:
    """The Responses API, plain and streamed."""
    answer = client.responses.create(model=MODEL, input="hello")
    assert answer.output_text.endswith(SAID)
    last = list(client.responses.create(model=MODEL, input="hello", stream=True))[-1]
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert last.response.usage.total_tokens > 0


def test_embeddings(client: OpenAI) -> None:
    """Several texts have a vector each, and the same text has the same, however it is sent."""
    answer = client.embeddings.create(model=MODEL, input=["one", "two", "one"])
    vectors = [item.embedding for item in answer.data]
    assert vectors[0] == vectors[2] != vectors[1]
    assert answer.usage.prompt_tokens == 3


async def test_embeddings_asynchronously(patient: AsyncOpenAI) -> None:
    """As floats, which the client asks for only when told to."""
    answer = await patient.embeddings.create(model=MODEL, input="one", encoding_format="float")
    assert len(answer.data[0].embedding) == 8


def test_a_transcription(client: OpenAI) -> None:
    """A file goes up as form data, the model in a part of it; its bytes arrive."""
    answer = client.audio.transcriptions.create(model=MODEL, file=SOUND)
    assert answer.text == HEARD


async def test_a_transcription_asynchronously(patient: AsyncOpenAI) -> None:
    """A file goes up as form data, the model in a part of it; its bytes arrive."""
    answer = await patient.audio.transcriptions.create(model=MODEL, file=SOUND)
    assert answer.text == HEARD


def test_an_edited_image(client: OpenAI) -> None:
    """A picture goes up as form data, too."""
    answer = client.images.edit(model=MODEL, image=("a.png", b"PNG"), prompt="make it blue")
    assert answer.data is not None
    assert answer.data[0].b64_json == "UE5H"


def test_the_models(client: OpenAI) -> None:
    """A gateway lists its own; where the path names a model, the model server lists those that it has."""
    assert {MODEL} <= {model.id for model in client.models.list()} <= {MODEL, "demo-large"}


@pytest.mark.parametrize("kind", WAYS)
def test_an_unknown_model(gateway: Running, kind: str) -> None:
    """It is that client's NotFoundError, whoever names the model."""
    options = WAYS[kind].options(gateway)
    if kind == "header":
        options["default_headers"]["X-Model-Name"] = "nobody"
    options["base_url"] = options["base_url"].replace("/demo%2Fsmall", "/nobody")
    with OpenAI(**options) as client, pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nobody", messages=HELLO)
    assert (raised.value.code, raised.value.type) == ("model_not_found", "invalid_request_error")


def test_a_form_for_an_unknown_model(gateway: Running) -> None:
    """What a body gateway answers to JSON it answers to form data."""
    with OpenAI(**WAYS["body"].options(gateway)) as client, pytest.raises(openai.NotFoundError) as raised:
        client.audio.transcriptions.create(model="nobody", file=SOUND)
    assert raised.value.code == "model_not_found"


def _whole(answer: ChatCompletion) -> None:
    text, usage = answer.choices[0].message.content, answer.usage
    assert text is not None
    assert text.endswith(SAID)
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (1, len(text.split()))


def _streamed(chunks: list[ChatCompletionChunk]) -> None:
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text.endswith(SAID)
    assert len(chunks) == len(text.split()) + 2  # the role before the words, the reason to stop behind
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)


def _told(chunks: list[ChatCompletionChunk]) -> None:
    *first, last = chunks
    _streamed(first)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == len(first) - 2
