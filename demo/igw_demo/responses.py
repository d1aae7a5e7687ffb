"""An answer as the Responses API gives it: one document, or a stream of named and numbered events. Pure.

Source: OpenAI API reference, "The response object", "Streaming events" of responses.
"""

import itertools
from collections.abc import Iterator

import msgspec

from igw_demo.answer import Answer, Event
from igw_demo.usage import Document, Usage


def response(given: Answer) -> Document:
    """Give the document of a whole response, with its usage."""
    return _response(given, "completed", [_message(given, "completed", given.text)], given.usage)


def response_events(given: Answer) -> Iterator[Event]:
    """Give the events of a streamed response; the last tells the usage."""
    numbers = itertools.count()
    for name, fields in _told(given):
        yield _event(name, next(numbers), fields)
    yield _event("response.completed", next(numbers), {"response": response(given)}, given.usage)


def _told(given: Answer) -> Iterator[tuple[str, Document]]:
    """Give the names and the fields of the events before the last."""
    where: Document = {"output_index": 0, "item_id": _item(given), "content_index": 0}
    begun = {"response": _response(given, "in_progress", [], None)}
    yield "response.created", begun
    yield "response.in_progress", begun
    yield "response.output_item.added", {"output_index": 0, "item": _message(given, "in_progress", None)}
    yield "response.content_part.added", {**where, "part": _text("")}
    for word in given.words:
        yield "response.output_text.delta", {**where, "delta": word, "logprobs": []}
    yield "response.output_text.done", {**where, "text": given.text, "logprobs": []}
    yield "response.content_part.done", {**where, "part": _text(given.text)}
    done = _message(given, "completed", given.text)
    yield "response.output_item.done", {"output_index": 0, "item": done}


def _response(given: Answer, status: str, output: list[Document], usage: Usage | None) -> Document:
    return {
        "id": given.id,
        "object": "response",
        "created_at": given.created,
        "status": status,
        "model": given.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "usage": None if usage is None else _usage(usage),
    }


def _usage(usage: Usage) -> Document:
    return usage.input_document(
        input_tokens_details={"cached_tokens": usage.cached_tokens},
        output_tokens_details={"reasoning_tokens": 0},
    )


def _item(given: Answer) -> str:
    return f"msg-{given.id}"


def _message(given: Answer, status: str, text: str | None) -> Document:
    content = [] if text is None else [_text(text)]
    return {
        "type": "message",
        "id": _item(given),
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _text(text: str) -> Document:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _event(name: str, number: int, fields: Document, usage: Usage | None = None) -> Event:
    document = {"type": name, "sequence_number": number, **fields}
    data = b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(document))
    return Event(data, usage, words=1 if name.endswith(".delta") else 0)
