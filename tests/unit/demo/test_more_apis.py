"""The newer APIs of the model server, asked by the `openai` package where it has a method for them."""

from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAID = "I am small-a of small-stable. You said: hello there"


async def counts(replica: httpx.AsyncClient) -> tuple[int, int]:
    """Give how many prompt and completion tokens were told of."""
    told = (await replica.get("/demo/seen")).json()["told"]["demo/small"]
    return told["prompt_tokens"], told["completion_tokens"]


@pytest.mark.parametrize(
    "asked",
    ["hello there", [{"role": "user", "content": [{"type": "input_text", "text": "hello there"}]}]],
    ids=["text", "items"],
)
async def test_a_response(openai: AsyncOpenAI, replica: httpx.AsyncClient, asked: Any) -> None:
    """Its text and its usage, in that API's names."""
    answer = await openai.responses.create(model="demo/small", input=asked, instructions="Be brief.")
    assert (answer.output_text, answer.status) == (SAID, "completed")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (4, 9, 13)
    assert await counts(replica) == (4, 9)


async def test_a_streamed_response(openai: AsyncOpenAI, replica: httpx.AsyncClient) -> None:
    """Numbered events; the deltas are the text, and the last event tells the usage."""
    stream = await openai.responses.create(model="demo/small", input="hello there", stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == SAID
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert (last.response.usage.input_tokens, last.response.output_text) == (2, SAID)
    assert await counts(replica) == (2, 9)


async def test_rerank(replica: httpx.AsyncClient) -> None:
    """The best documents come first."""
    asked = {"model": "demo/small", "query": "a b", "documents": ["c d", "b a", {"text": "a"}], "top_n": 2}
    answer = (await replica.post("/v1/rerank", json=asked)).json()
    assert answer["results"] == [
        {"index": 1, "document": {"text": "b a"}, "relevance_score": 1.0},
        {"index": 2, "document": {"text": "a"}, "relevance_score": 0.5},
    ]
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert await counts(replica) == (7, 0)


async def test_moderations(openai: AsyncOpenAI, replica: httpx.AsyncClient) -> None:
    """One judgement for each text, and no usage."""
    answer = await openai.moderations.create(model="demo/small", input=["one", "two"])
    assert [result.flagged for result in answer.results] == [False, False]
    assert await counts(replica) == (0, 0)


async def test_a_transcription(openai: AsyncOpenAI, replica: httpx.AsyncClient) -> None:
    """A file in a form; the answer says what it was, and tells tokens."""
    answer = await openai.audio.transcriptions.create(model="demo/small", file=("a.wav", b"RIFF" * 100))
    assert answer.text == "I heard 400 bytes of a.wav."
    assert answer.usage is not None
    assert answer.usage.type == "tokens"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 6)
    assert await counts(replica) == (5, 6)


async def test_an_edited_image(openai: AsyncOpenAI, replica: httpx.AsyncClient) -> None:
    """One picture or several; it comes back as it was."""
    for image in (("a.png", b"PNG"), [("a.png", b"PNG"), ("b.png", b"PNG")]):
        answer = await openai.images.edit(model="demo/small", image=image, prompt="make it blue")
        assert answer.data is not None
        assert (answer.created, answer.data[0].b64_json) == (1_700_000_000, "UE5H")
    assert await counts(replica) == (8, 2)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"a"),
        ("multipart/form-data", b"a"),
        ("multipart/form-data; boundary=x", b"a"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
        ),
        ("", b"a"),
    ],
    ids=["text", "no boundary", "no form", "no file", "no type"],
)
async def test_an_unreadable_form(replica: httpx.AsyncClient, content_type: str, body: bytes) -> None:
    """It is 400 with an error object."""
    headers = {"content-type": content_type} if content_type else {}
    answer = await replica.post("/v1/audio/transcriptions", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
