"""The bytes of a request in, what it asks for out: the model, the text, and how a test wants it answered.

Source: OpenAI API reference, "Create chat completion", "Create completion", "Create embeddings". Only the
fields that change the answer are read; all others are ignored, as a lenient model server does.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from igw_model.openai import ApiError
from msgspec import Meta

from igw_demo.client import Refused

MAX_MILLISECONDS = 300_000
MAX_CHUNKS = 100_000
MAX_DIMENSIONS = 3072
MAX_INPUTS = 2048

Milliseconds = Annotated[int, Meta(ge=0, le=MAX_MILLISECONDS)]

_FIELDS = {
    "delay_ms": "x-demo-delay-ms",
    "chunks": "x-demo-chunks",
    "chunk_ms": "x-demo-chunk-ms",
    "status": "x-demo-status",
}


class Wishes(msgspec.Struct, frozen=True, rename=_FIELDS):
    """How a test wants to be answered; sent as headers, or as body fields of the same names."""

    delay_ms: Milliseconds = 0
    """Wait before the answer."""
    chunks: Annotated[int, Meta(ge=1, le=MAX_CHUNKS)] | None = None
    """How many words the answer has, and so how many chunks its stream has."""
    chunk_ms: Milliseconds = 0
    """Wait after each chunk of a stream."""
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    """Answer with this error instead."""


class _Part(msgspec.Struct):
    type: str = "text"
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Asked(Wishes, frozen=True, kw_only=True):
    model: str = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


class _Chat(_Asked, frozen=True, kw_only=True):
    messages: list[_Message]


class _Completion(_Asked, frozen=True, kw_only=True):
    prompt: str | list[Any] = ""


class _Embedding(_Asked, frozen=True, kw_only=True):
    input: str | Annotated[list[Any], Meta(max_length=MAX_INPUTS)]
    encoding_format: str | None = None
    dimensions: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A chat or a completion to answer; `said` is the last thing that the user said."""

    model: str
    said: str
    prompt_tokens: int
    stream: bool
    include_usage: bool
    wishes: Wishes


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts to embed, as vectors of `dimensions` floats, in base64 when asked for."""

    model: str
    texts: tuple[str, ...]
    dimensions: int
    base64: bool
    wishes: Wishes


def token_count(text: str) -> int:
    """Count a text's tokens: its words, counted as spaces plus one (no list of words is made)."""
    return text.count(" ") + 1 if text else 0


def chat_question(body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Question:
    """Read a chat request; raises Refused (400)."""
    asked = _decode(_CHAT, body)
    texts = [_text(message) for message in asked.messages]
    said = (text for message, text in zip(asked.messages, texts, strict=True) if message.role == "user")
    last = next(reversed(list(said)), "")
    return _question(asked, last, sum(map(token_count, texts)), headers)


def completion_question(body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Question:
    """Read a completion request; raises Refused (400)."""
    asked = _decode(_COMPLETION, body)
    prompts = _items(asked.prompt)
    return _question(asked, prompts[-1] if prompts else "", sum(map(token_count, prompts)), headers)


def texts_to_embed(body: bytes, headers: Iterable[tuple[bytes, bytes]], dimensions: int) -> Texts:
    """Read an embeddings request; `dimensions` is used where it names none. Raises Refused (400)."""
    asked = _decode(_EMBEDDING, body)
    return Texts(
        model=asked.model,
        texts=_items(asked.input),
        dimensions=asked.dimensions or dimensions,
        base64=asked.encoding_format == "base64",
        wishes=_wishes(asked, headers),
    )


_CHAT = msgspec.json.Decoder(_Chat)
_COMPLETION = msgspec.json.Decoder(_Completion)
_EMBEDDING = msgspec.json.Decoder(_Embedding)

A = TypeVar("A", bound=_Asked)


def _decode(decoder: msgspec.json.Decoder[A], body: bytes) -> A:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(ApiError(400, "invalid_request", f"The body can't be read: {error}")) from None


def _question(
    asked: _Asked, said: str, prompt_tokens: int, headers: Iterable[tuple[bytes, bytes]]
) -> Question:
    return Question(
        model=asked.model,
        said=said,
        prompt_tokens=prompt_tokens,
        stream=bool(asked.stream),
        include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
        wishes=_wishes(asked, headers),
    )


def _wishes(asked: Wishes, headers: Iterable[tuple[bytes, bytes]]) -> Wishes:
    """Give the headers' wishes if there are any, else the body's."""
    sent = {name.decode(): value.decode("latin-1") for name, value in headers if name.startswith(b"x-demo-")}
    if not sent:
        return asked
    try:
        return msgspec.convert(sent, Wishes, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(ApiError(400, "invalid_request", f"The headers can't be read: {error}")) from None


def _text(message: _Message) -> str:
    match message.content:
        case str() as text:
            return text
        case None:
            return ""
        case parts:
            return " ".join(part.text for part in parts if part.type == "text")


def _items(given: str | list[Any]) -> tuple[str, ...]:
    """Give the texts of a prompt or input: one text, several, one list of token ids, or several."""
    match given:
        case str():
            return (given,)
        case [int(), *_]:
            return (json.dumps(given),)
        case several:
            return tuple(item if isinstance(item, str) else json.dumps(item) for item in several)
