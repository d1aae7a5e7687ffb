"""Requests for `body.lua`, run by a real LuaJIT; `request_handle.lua` stands in Envoy's place."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from igw_model.openai import ApiError
from igw_xds.resources.body import body_script, reads
from lupa.luajit21 import LuaRuntime

HANDLE = Path(__file__).with_name("request_handle.lua").read_bytes()
CHAT = "/v1/chat/completions"
NO_LIMITS: Mapping[str, int] = MappingProxyType({})
"""None but its own."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the script did with a request: `answer` is the model's name or the error's status and body."""

    answer: str | tuple[int, bytes] | None
    body: bytes | None
    length: str | None = None
    hides: bool = False
    cleared: bool = False
    left: bool = False
    """To ext_proc."""


def refusal(error: ApiError) -> tuple[int, bytes]:
    """Give what an error is answered with."""
    return error.status, error.body()


@lru_cache(maxsize=32)
def interpreter(constants: tuple[tuple[str, object], ...]) -> Any:
    """Load the script, with other values for some of its constants."""
    source = body_script().default_source_code.inline_string
    for name, value in constants:
        before, found, rest = source.partition(f"local {name} = ")
        assert found, name
        _, end, behind = rest.partition("\n")
        source = f"{before}{found}{value}{end}{behind}"
    lua = LuaRuntime(encoding=None)
    lua.execute(source.encode())
    lua.execute(HANDLE)
    return lua


def play(  # noqa: PLR0913 - each says one thing of a request
    body: bytes | None,
    *,
    model: bool = True,
    stream_usage: bool = False,
    leaves_forms: bool = False,
    path: str = CHAT,
    headers: Mapping[str, str | None] | None = None,
    method: str = "POST",
    window: object = 65536,
    limits: Mapping[str, int] = NO_LIMITS,
) -> Outcome:
    """Send a request through the script, which reads a window of so many bytes at a time."""
    lua = interpreter((("WINDOW", window), *limits.items()))
    said = {":method": method, ":path": path, "content-length": str(len(body or b"")), **(headers or {})}
    said_to_route = reads(model=model, stream_usage=stream_usage, leaves_forms=leaves_forms)
    context = dict(said_to_route.filter_context) if said_to_route else {}
    outcome = lua.globals()[b"run"](
        lua.table_from({name.encode(): _spoken(value) for name, value in context.items()}),
        lua.table_from({name.encode(): value.encode() for name, value in said.items() if value is not None}),
        body,
    )
    status, named = outcome[b"status"], outcome[b"headers"][b"x-igw-model"]
    assert (status is None) == (outcome[b"type"] is None)
    answer = named and named.decode() if status is None else (int(status), outcome[b"reply"])
    length = outcome[b"headers"][b"content-length"]
    hides, left = outcome[b"igw.usage:hide"] is True, outcome[b"igw.body:form"] is True
    return Outcome(answer, outcome[b"body"], length and length.decode(), hides, outcome[b"cleared"], left)


def _spoken(value: object) -> object:
    return value.encode() if isinstance(value, str) else value
