"""Answers of model servers, and what the usage script makes of them in LuaJIT: chunks in, chunks and metadata out."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from igw_xds.resources.scripts import source
from lupa.luajit21 import LuaRuntime

HANDLE = Path(__file__).with_name("response_handle.lua").read_bytes()
EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}
LINE_ENDS = (b"\n", b"\r\n", b"\r")
Said = dict[str, float | bool]
"""The metadata under `igw.usage`."""


@dataclass(frozen=True)
class Event:
    """A server-sent event: its lines, and what is to be made of it."""

    lines: tuple[bytes, ...]
    content: bool = False
    extra: bool = False
    used: Said = field(default_factory=dict)

    def text(self, end: bytes = b"\n") -> bytes:
        """Give its bytes, lines ended as told."""
        return b"".join(line + end for line in (*self.lines, b""))


@dataclass(frozen=True)
class Passed:
    """What became of an answer: its headers, its chunks, and the metadata after each and at its end."""

    chunks: tuple[bytes, ...]
    seen: tuple[Said, ...]
    said: Said
    headers: frozenset[str]

    @property
    def body(self) -> bytes:
        """Give all bytes."""
        return b"".join(self.chunks)


class Script:
    """The usage script in LuaJIT."""

    def __init__(self) -> None:
        self._lua = LuaRuntime(encoding=None)
        self._lua.execute(source("usage").encode())
        self._lua.execute(HANDLE)
        self._play = self._lua.globals()[b"play"]

    def play(
        self,
        chunks: Sequence[bytes],
        headers: dict[str, str] = EVENT_STREAM,
        *,
        hide: bool = False,
        ending: bytes = b"data",
    ) -> Passed:
        """Let an answer pass; raises LuaError where the script fails, or uses what is gone."""
        named = self._lua.table_from({name.encode(): value.encode() for name, value in headers.items()})
        mine = {b"igw.usage": self._lua.table_from({b"hide": True})} if hide else {}
        outs, seen, said, left = self._play(
            named, self._lua.table_from(mine), self._lua.table_from(list(chunks)), ending
        )
        return Passed(
            tuple(outs.values()),
            tuple(map(_said, seen.values())),
            _said(said),
            frozenset(name.decode() for name in left),
        )


def _said(table: Any) -> Said:
    return {name.decode(): value for name, value in table.items() if name != b"hide"}


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """Give a body in chunks; two cuts at one place give an empty chunk."""
    inner = sorted(min(place, len(body)) for place in places)
    return [body[start:stop] for start, stop in pairwise([0, *inner, len(body)])]


def data(document: Any, *, spaced: bool = False) -> bytes:
    """Give a data line."""
    text = json.dumps(document, separators=(", ", " : ") if spaced else (",", ":"), ensure_ascii=False)
    return b"data: " + text.encode()


def chunk(choice: Any = None, **more: Any) -> Any:
    """Give a chunk of a streamed completion; without a choice it has none."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [] if choice is None else [choice],
    } | more


def delta(**said: Any) -> Any:
    """Give a choice of a streamed chat."""
    return {"index": 0, "delta": said, "finish_reason": None}


def chat_usage(prompt: int, completion: int, cached: int | None = None) -> tuple[Any, Said]:
    """Give the usage object of a completion, and what is to be read of it."""
    used: Any = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if cached is None:
        return used, used | {"cached_tokens": 0}
    return used | {"prompt_tokens_details": {"cached_tokens": cached}}, used | {"cached_tokens": cached}


# What a model says may look like anything: it is escaped.
texts = st.text(max_size=12) | st.sampled_from(
    [
        '"usage":{"total_tokens":7}',
        '"choices":[],"usage":{"a":1}',
        "\n\ndata: {}\r\n\r\n",
        '"delta":"x"',
        "[DONE]",
    ]
)
_tokens = st.integers(0, 10**6)
_usages = st.builds(chat_usage, _tokens, _tokens, _tokens | st.none())
_keys = st.sampled_from(["content", "reasoning_content", "reasoning", "refusal"])


def _spoken(key: str, text: str, *, spaced: bool, null: bool) -> Event:
    document = chunk(delta(role="assistant", **{key: text}), **({"usage": None} if null else {}))
    return Event((data(document, spaced=spaced),), content=text != "")


def _called(arguments: str) -> Event:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return Event((data(chunk(delta(content=None, tool_calls=[call]))),), content=arguments != "")


def _completed(text: str) -> Event:
    return Event((data(chunk({"text": text, "index": 0, "logprobs": None})),), content=text != "")


def _extra(usage: tuple[Any, Said], *, spaced: bool, named: bool) -> Event:
    line = data(chunk(usage=usage[0], system_fingerprint="fp"), spaced=spaced)
    return Event((b"id: 7", line) if named else (line,), extra=True, used=usage[1])


def _continuous(usage: tuple[Any, Said], text: str) -> Event:
    return Event((data(chunk(delta(content=text), usage=usage[0])),), content=text != "", used=usage[1])


def _responses_delta(text: str) -> Event:
    document = {"type": "response.output_text.delta", "output_index": 0, "delta": text}
    return Event((b"event: response.output_text.delta", data(document)), content=text != "")


def _responses_completed(text: str, given: int, made: int, cached: int) -> Event:
    usage = {"input_tokens": given, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": made}
    output = [{"type": "message", "content": [{"type": "output_text", "text": text}]}]
    document = {"type": "response.completed", "response": {"output": output, "usage": usage}}
    used: Said = {
        "prompt_tokens": given,
        "completion_tokens": made,
        "cached_tokens": cached,
        "total_tokens": given + made,
    }
    return Event((b"event: response.completed", data(document)), used=used)


def _plain(document: Any) -> Event:
    return Event((data(document),))


FINISHED = chunk(delta() | {"finish_reason": "stop"}, usage=None)
SILENT = (
    Event((b": ping - 2026-11-23",)),
    Event((b"retry: 10", b"id: 1")),
    Event((b"data: [DONE]",)),
    Event((b"data:",)),
    Event((b"data: ",)),
    _plain(FINISHED),
    _plain(chunk(usage=None)),
    _plain([chunk(delta(content="in a list"))]),
    _plain(chunk(prompt_filter_results=[{"prompt_index": 0}])),
    _plain({"error": {"message": "it broke", "code": 500}}),
    _plain({"type": "response.created", "response": {"usage": None, "text": {"format": {"type": "text"}}}}),
    _plain({"type": "response.output_text.done", "text": "all of it"}),
    _plain({"usage": {"gpu": 1}}),
    _plain({"image_usage": {"total_tokens": 9}, "role_delta": {"content": "x"}}),
)
events = (
    st.builds(_spoken, _keys, texts, spaced=st.booleans(), null=st.booleans())
    | st.builds(_called, texts)
    | st.builds(_completed, texts)
    | st.builds(_extra, _usages, spaced=st.booleans(), named=st.booleans())
    | st.builds(_continuous, _usages, texts)
    | st.builds(_responses_delta, texts)
    | st.builds(_responses_completed, texts, _tokens, _tokens, _tokens)
    | st.sampled_from(SILENT)
)


def expected(stream: Sequence[Event]) -> Said:
    """Give what is to be known of a stream once it came to its end."""
    said: Said = {"streamed": True, "whole": True}
    for event in stream:
        said |= event.used
    spoken = sum(event.content for event in stream)
    return said | ({"events": spoken} if spoken else {})
