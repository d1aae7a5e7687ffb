"""A question in, the documents of its answer out, in OpenAI's shapes, with the usage that they tell. Pure.

Source: OpenAI API reference: "The chat completion object", "The chat completion chunk object", "The
completion object", "The embedding object", "Streaming".
"""

import base64
import hashlib
import itertools
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, assert_never

import msgspec

from igw_demo.question import Question, Texts, token_count
from igw_demo.usage import Document, Usage

MAX_ECHO = 200
"""Characters of the user's text that an answer repeats."""


class Event(NamedTuple):
    """One event of a stream as it is sent, the usage that it tells, and how many words of the answer are in it."""

    data: bytes
    usage: Usage | None = None
    words: int = 0


DONE = Event(b"data: [DONE]\n\n")


class Api(Enum):
    """Which of the two text APIs is spoken."""

    CHAT = "chat"
    COMPLETION = "completion"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its words, each with the space before it, so that joined they are the text."""

    id: str
    created: int
    model: str
    words: tuple[str, ...]
    prompt_tokens: int
    cached_tokens: int

    @property
    def text(self) -> str:
        """Give the whole text."""
        return "".join(self.words)

    @property
    def usage(self) -> Usage:
        """Give the tokens of the whole answer."""
        return self.usage_after(len(self.words))

    def usage_after(self, words: int) -> Usage:
        """Give the tokens so far, once so many words were sent."""
        return Usage(self.prompt_tokens, words, self.cached_tokens)


def answer(question: Question, replica: str, deployment: str, identity: str, created: int) -> Answer:
    """Give the answer of a replica; it names itself and repeats what the user said."""
    text = f"I am {replica} of {deployment}. You said: {question.said[:MAX_ECHO]}"
    words = text.split(" ")
    spaced = (words[0], *(f" {word}" for word in words[1:]))
    wanted = question.wishes.chunks
    if wanted is not None:
        spaced = tuple(itertools.islice(itertools.chain(spaced, itertools.cycle(spaced[1:])), wanted))
    cached = min(question.wishes.cached, question.prompt_tokens)
    return Answer(identity, created, question.model, spaced, question.prompt_tokens, cached)


def plain(api: Api, given: Answer) -> Document:
    """Give the document of an answer sent whole."""
    return _document(api, given, _whole(api, given.text), chunk=False) | {"usage": given.usage.document()}


def events(api: Api, given: Answer, *, include_usage: bool, continuous: bool = False) -> Iterator[Event]:
    """Give the server-sent events of a streamed answer, up to and with ``[DONE]``.

    With `include_usage` one without choices tells the usage, and the others say null, or the usage so far.
    """
    first = 0 if api is Api.CHAT else 1
    for count, word in enumerate(_pieces(api, given), first):
        sofar = given.usage_after(count) if continuous else None
        chunk = _document(api, given, _delta(api, word, None), chunk=True)
        yield _event(chunk, sofar, told=include_usage, words=1 if word else 0)
    end = _document(api, given, _delta(api, None, "stop"), chunk=True)
    yield _event(end, given.usage if continuous else None, told=include_usage)
    if include_usage:
        yield _event(_document(api, given, None, chunk=True), given.usage, told=True)
    yield DONE


def embeddings(asked: Texts) -> Document:
    """Give the vectors of the texts; the same text always has the same vector."""
    vectors = [vector(text, asked.dimensions) for text in asked.texts]
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _packed(numbers) if asked.base64 else numbers,
            }
            for index, numbers in enumerate(vectors)
        ],
        "model": asked.model,
        "usage": Usage(embedded(asked)).prompt_document(),
    }


def embedded(asked: Texts) -> int:
    """Count the tokens of the texts."""
    return sum(map(token_count, asked.texts))


def vector(text: str, dimensions: int) -> list[float]:
    """Give a text's vector, of length 1, made from its hash."""
    digest = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    numbers = [number + 0.5 for number in struct.unpack(f"<{dimensions}h", digest)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


def models(deployments: Mapping[str, str], created: int) -> Document:
    """Give the list of a server's models; each is owned by its deployment."""
    data = [
        {"id": model, "object": "model", "created": created, "owned_by": deployment}
        for model, deployment in deployments.items()
    ]
    return {"object": "list", "data": data}


def _document(api: Api, given: Answer, choice: Document | None, *, chunk: bool) -> Document:
    kind = "text_completion" if api is Api.COMPLETION else "chat.completion"
    return {
        "id": given.id,
        "object": f"{kind}.chunk" if chunk and api is Api.CHAT else kind,
        "created": given.created,
        "model": given.model,
        "choices": [] if choice is None else [choice],
    }


def _whole(api: Api, text: str) -> Document:
    end = {"index": 0, "logprobs": None, "finish_reason": "stop"}
    match api:
        case Api.CHAT:
            return {"message": {"role": "assistant", "content": text, "refusal": None}} | end
        case Api.COMPLETION:
            return {"text": text} | end
        case _:
            assert_never(api)


def _pieces(api: Api, given: Answer) -> Iterator[str]:
    """Give the texts of the chunks; a chat begins with an empty one that tells the role."""
    return itertools.chain(("",) if api is Api.CHAT else (), given.words)


def _delta(api: Api, word: str | None, finish_reason: str | None) -> Document:
    end = {"index": 0, "logprobs": None, "finish_reason": finish_reason}
    match api:
        case Api.CHAT if word is None:
            return {"delta": {}} | end
        case Api.CHAT:
            return {
                "delta": {"role": "assistant", "content": word} if word == "" else {"content": word}
            } | end
        case Api.COMPLETION:
            return {"text": word or ""} | end
        case _:
            assert_never(api)


def _event(document: Document, usage: Usage | None, *, told: bool, words: int = 0) -> Event:
    if told:
        document["usage"] = None if usage is None else usage.document()
    return Event(b"data: %b\n\n" % msgspec.json.encode(document), usage, words)


def _packed(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
