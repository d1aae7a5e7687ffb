"""The bytes of a request in, what it asks for out: the model, the text, and how a test wants it answered.

Source: OpenAI API reference, "Create chat completion", "Create completion", "Create a response", "Create embeddings",
"Create moderation"; for `continuous_usage_stats` and rankings vLLM's "OpenAI-Compatible Server". Only the fields that
change the answer are read; all others are ignored, as a lenient model server does.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from igw_model.openai import ApiError
from msgspec import Meta

from igw_demo.client import Refused
from igw_demo.wishes import Wishes, wishes

MAX_DIMENSIONS = 3072
MAX_INPUTS = 2048


class _Part(msgspec.Struct):
    type: str = "text"
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _Item(msgspec.Struct):
    role: str = ""
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


_NO_OPTIONS = _StreamOptions()


class _Asked(Wishes, frozen=True, kw_only=True):
    model: str = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


class _Chat(_Asked, frozen=True, kw_only=True):
    messages: list[_Message]


class _Completion(_Asked, frozen=True, kw_only=True):
    prompt: str | list[Any] = ""


class _Response(_Asked, frozen=True, kw_only=True):
    input: str | list[_Item] = ""
    instructions: str | None = None


class _Ranking(_Asked, frozen=True, kw_only=True):
    query: str
    documents: Annotated[list[str | _Part], Meta(max_length=MAX_INPUTS)]
    top_n: Annotated[int, Meta(ge=1)] | None = None


class _Moderation(_Asked, frozen=True, kw_only=True):
    input: str | Annotated[list[Any], Meta(max_length=MAX_INPUTS)]


class _Embedding(_Asked, frozen=True, kw_only=True):
    input: str | Annotated[list[Any], Meta(max_length=MAX_INPUTS)]
    encoding_format: str | None = None
    dimensions: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A chat, a completion or a response to make; `said` is the last thing that the user said."""

    model: str
    said: str
    prompt_tokens: int
    stream: bool
    include_usage: bool
    continuous_usage: bool
    """Whether each event of a stream tells the usage so far; vLLM does so only beside `include_usage`."""
    wishes: Wishes


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts to embed, as vectors of `dimensions` floats, in base64 when asked for."""

    model: str
    texts: tuple[str, ...]
    dimensions: int
    base64: bool
    wishes: Wishes


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents to put in order for a query; the best `top` are wanted."""

    model: str
    query: str
    documents: tuple[str, ...]
    top: int
    wishes: Wishes


@dataclass(frozen=True, slots=True)
class Moderation:
    """Texts, or pictures, to judge: `count` of them."""

    model: str
    count: int
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


def response_question(body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Question:
    """Read a request for a response; raises Refused (400)."""
    asked = _decode(_RESPONSE, body)
    items = [_Item("user", asked.input)] if isinstance(asked.input, str) else asked.input
    said = [_text(item) for item in items if item.role == "user"]
    texts = [asked.instructions or "", *map(_text, items)]
    return _question(asked, said[-1] if said else "", sum(map(token_count, texts)), headers)


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
        wishes=wishes(asked, headers),
    )


def ranking(body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Ranking:
    """Read a request to rank documents; raises Refused (400)."""
    asked = _decode(_RANKING, body)
    documents = tuple(one if isinstance(one, str) else one.text for one in asked.documents)
    return Ranking(asked.model, asked.query, documents, asked.top_n or len(documents), wishes(asked, headers))


def moderation(body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Moderation:
    """Read a request to judge texts; raises Refused (400)."""
    asked = _decode(_MODERATION, body)
    return Moderation(
        asked.model, 1 if isinstance(asked.input, str) else len(asked.input), wishes(asked, headers)
    )


_CHAT = msgspec.json.Decoder(_Chat)
_COMPLETION = msgspec.json.Decoder(_Completion)
_RESPONSE = msgspec.json.Decoder(_Response)
_EMBEDDING = msgspec.json.Decoder(_Embedding)
_RANKING = msgspec.json.Decoder(_Ranking)
_MODERATION = msgspec.json.Decoder(_Moderation)

A = TypeVar("A", bound=_Asked)


def _decode(decoder: msgspec.json.Decoder[A], body: bytes) -> A:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(ApiError(400, "invalid_request", f"The body can't be read: {error}")) from None


def _question(
    asked: _Asked, said: str, prompt_tokens: int, headers: Iterable[tuple[bytes, bytes]]
) -> Question:
    options = asked.stream_options or _NO_OPTIONS
    return Question(
        model=asked.model,
        said=said,
        prompt_tokens=prompt_tokens,
        stream=bool(asked.stream),
        include_usage=bool(options.include_usage),
        continuous_usage=bool(options.include_usage and options.continuous_usage_stats),
        wishes=wishes(asked, headers),
    )


_TEXTS = {"text", "input_text", "output_text"}


def _text(message: _Message | _Item) -> str:
    match message.content:
        case str() as text:
            return text
        case None:
            return ""
        case parts:
            return " ".join(part.text for part in parts if part.type in _TEXTS)


def _items(given: str | list[Any]) -> tuple[str, ...]:
    """Give the texts of a prompt or input: one text, several, one list of token ids, or several."""
    match given:
        case str():
            return (given,)
        case [int(), *_]:
            return (json.dumps(given),)
        case several:
            return tuple(item if isinstance(item, str) else json.dumps(item) for item in several)
