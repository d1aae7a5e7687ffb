"""The usage collector as the API's source of usage: a question out over HTTP, its document in, held to its shape.

Contract: docs/usage.md, "Questions".
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import httpx
import msgspec
import structlog
from igw_model.document import FieldError
from msgspec import Meta

from igw_api.failure import Code, RefusedError
from igw_api.refusal import invalid
from igw_api.usage import NoSource, Source

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 12.0
"""Longer than the collector reads for one question, which is ten: it then says itself that this is too much."""
MAX_BYTES = 4 * 1024 * 1024
"""Of an answer; one of a thousand items has some 400 KiB."""
MAX_ITEMS = 1000
MAX_CONNECTIONS = 16

_Count = Annotated[int, Meta(ge=0)]


class _Counts(msgspec.Struct, rename="camel"):
    requests: _Count
    errors: _Count
    streamed: _Count
    partial: _Count
    prompt_tokens: _Count
    completion_tokens: _Count
    cached_tokens: _Count
    total_tokens: _Count
    duration_seconds: Annotated[float, Meta(ge=0)]


class _Item(_Counts, rename="camel"):
    start: str | None
    key: str | None


class _Answer(msgspec.Struct, rename="camel", omit_defaults=True):
    from_: str = msgspec.field(name="from")
    to: str
    group_by: str | None
    interval: str | None
    items: Annotated[list[_Item], Meta(max_length=MAX_ITEMS)]
    totals: _Counts
    truncated: bool = False


class _Complaint(msgspec.Struct):
    field: str
    message: str


class Collector:
    """A collector's operations port; `client` has its URL."""

    def __init__(self, client: httpx.AsyncClient, timeout: float = TIMEOUT_SECONDS) -> None:
        self._client = client
        self._timeout = timeout

    async def usage(self, question: Mapping[str, str]) -> dict[str, Any]:
        """Ask. Raises RefusedError: `unavailable` where no good answer comes in time."""
        try:
            async with asyncio.timeout(self._timeout):
                status, body = await self._asked(question)
        except (httpx.HTTPError, TimeoutError, _TooLargeError) as error:
            raise _unavailable(repr(error)) from None
        if status == 400:
            raise _complaint(body)
        if status == 503:
            raise RefusedError(
                Code.UNAVAILABLE, "the usage collector is too busy for this: ask for less time, or later"
            )
        if status != 200:
            raise _unavailable(f"status {status}")
        return _checked(body)

    async def _asked(self, question: Mapping[str, str]) -> tuple[int, bytes]:
        body = bytearray()
        async with self._client.stream("GET", "/usage", params=dict(question)) as answer:
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > MAX_BYTES:
                    raise _TooLargeError
            return answer.status_code, bytes(body)


@contextlib.asynccontextmanager
async def collector(url: str | None) -> AsyncIterator[Source]:
    """Give the source of usage at a URL while the context is open; without one, a source that knows nothing."""
    if url is None:
        yield NoSource()
        return
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
    async with httpx.AsyncClient(base_url=url, limits=limits, trust_env=False, timeout=None) as client:  # noqa: S113
        yield Collector(client)


class _TooLargeError(Exception):
    """The answer has no end that we wait for."""


def _checked(body: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unavailable(f"not a document of usage: {error}") from None
    document: dict[str, Any] = msgspec.to_builtins(answer)
    return document


def _complaint(body: bytes) -> RefusedError:
    """Give the collector's complaint about a question as ours: it knows what time it is."""
    try:
        told = msgspec.json.decode(body, type=_Complaint)
    except (msgspec.DecodeError, RecursionError):
        return _unavailable("status 400")
    return invalid([FieldError(told.field, told.message.removeprefix(f"{told.field}: "))])


def _unavailable(reason: str) -> RefusedError:
    log.warning("the usage collector gave no answer", reason=reason)
    return RefusedError(Code.UNAVAILABLE, "the usage collector cannot be asked at the moment: try again")
