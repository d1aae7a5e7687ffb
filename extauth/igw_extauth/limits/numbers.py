"""What a project may: asked of the W&B side over HTTP (docs/limits.md), or the same for all.

In: ``<entity>/<project>``. Out: its numbers, or None when there is no such project. A failure is never an exception:
the last answer is used for an hour, and then the local numbers, because an outage of limits must not end inference.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import httpx
import msgspec

from igw_extauth.asking import asking_client, bounded_body
from igw_extauth.limits.admission import UNKNOWN_SECONDS
from igw_extauth.limits.metrics import NUMBERS_REQUESTS
from igw_extauth.limits.project import Numbers
from igw_extauth.outage import OutageLog

ANSWER_SECONDS = 2.0
FAILED_SECONDS = 10.0
"""How long nobody waits for an answer again after there was none."""
LAST_KNOWN_SECONDS = 3600.0
REFRESH_AT = 0.75
"""The part of an answer's time after which it is asked for anew, in the background."""
ENTRIES = 10_000
MAX_ASKING = 1024
"""Questions under way; beyond, there is no answer at once."""
MAX_BODY_BYTES = 16 * 1024
CONNECTIONS = 32


class Source(Protocol):
    """Knows what projects may."""

    async def of(self, project: str) -> Numbers | None:
        """Give a project's numbers; None when there is no such project."""
        ...


class LocalNumbers:
    """The same numbers for every project."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    async def of(self, _project: str) -> Numbers | None:
        """Give them."""
        return self._numbers


class _Failed(Exception):  # noqa: N818 - it is no error of ours
    """There was no answer; the text says why and quotes nothing of what was sent."""


class NumbersApi:
    """Asks ``GET <url>?entity=…&project=…``; `token_file` is read anew for each question, as it may be replaced."""

    def __init__(self, url: str, token_file: Path | None, local: Numbers) -> None:
        self._url = httpx.URL(url)
        self._token_file = token_file
        self._local = local
        self._client = asking_client(
            httpx.Timeout(ANSWER_SECONDS),
            httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        )

    async def ask(self, project: str) -> Numbers | None:
        """Ask for a project's numbers; None when there is no such project. Raises _Failed."""
        entity, _, name = project.partition("/")
        try:
            url = self._url.copy_merge_params({"entity": entity, "project": name})
            headers = _authorization(self._token_file)
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._client.stream("GET", url, headers=headers) as response,
            ):
                return _numbers(
                    response.status_code, await bounded_body(response, MAX_BODY_BYTES), self._local
                )
        except TimeoutError as error:
            raise _Failed("timeout") from error
        except (httpx.HTTPError, OSError, ValueError, RecursionError) as error:
            raise _Failed(type(error).__name__) from error

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def _authorization(token_file: Path | None) -> dict[str, str]:
    return {} if token_file is None else {"authorization": f"Bearer {token_file.read_text().strip()}"}


_Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Limit = _Number | None | msgspec.UnsetType


class _Body(msgspec.Struct, rename="camel"):
    concurrency: _Limit = msgspec.UNSET
    requests_per_minute: _Limit = msgspec.UNSET
    tokens_per_minute: _Limit = msgspec.UNSET
    quota_tokens: _Limit = msgspec.UNSET
    quota_used_up: bool = False


def _numbers(status: int, body: bytes | None, local: Numbers) -> Numbers | None:
    if body is None:
        raise _Failed("answer too large")
    if status == httpx.codes.NOT_FOUND:
        return None
    if status != httpx.codes.OK:
        raise _Failed(f"status {status}")
    told = msgspec.json.decode(body, type=_Body)  # its errors are ValueErrors
    return Numbers(
        _or(told.concurrency, local.concurrency),
        _or(told.requests_per_minute, local.requests_per_minute),
        _or(told.tokens_per_minute, local.tokens_per_minute),
        0 if told.quota_used_up else _or(told.quota_tokens, local.quota_tokens),
    )


def _or(told: _Limit, local: int | None) -> int | None:
    return local if told is msgspec.UNSET else told


@dataclass(frozen=True, slots=True)
class _Entry:
    """`good` for a while, asked for anew from `refresh_at`; while there is no other it is still used until `last`."""

    numbers: Numbers | None
    refresh_at: float
    good_until: float
    last: float


class AskedNumbers:
    """What an API says, remembered for `seconds`; one question of a project at a time. Times are the event loop's."""

    def __init__(self, api: NumbersApi, local: Numbers, seconds: float) -> None:
        self._api = api
        self._local = local
        self._seconds = seconds
        # Two tables, so that a flood of names that are no projects evicts no project.
        self._projects: OrderedDict[str, _Entry] = OrderedDict()
        self._others: OrderedDict[str, _Entry] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Numbers | None]] = {}
        self._outage = OutageLog(what="limits_numbers")
        self._now = asyncio.get_running_loop().time

    async def of(self, project: str) -> Numbers | None:
        """Give a project's numbers; waits only when there is no good answer."""
        entry = self._entry(project)
        if entry is not None and self._now() < entry.good_until:
            if self._now() >= entry.refresh_at:
                self._ask(project)
            return entry.numbers
        asking = self._ask(project)
        if asking is None:
            NUMBERS_REQUESTS.count("too_many")
            return self._without(entry)
        return await asyncio.shield(asking)

    async def aclose(self) -> None:
        """End what is under way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._api.aclose()

    def _entry(self, project: str) -> _Entry | None:
        table = self._projects if project in self._projects else self._others
        if (entry := table.get(project)) is not None:
            table.move_to_end(project)
        return entry

    def _ask(self, project: str) -> asyncio.Task[Numbers | None] | None:
        if project not in self._asking:
            if len(self._asking) >= MAX_ASKING:
                return None
            self._asking[project] = asyncio.create_task(self._asked(project))
        return self._asking[project]

    async def _asked(self, project: str) -> Numbers | None:
        try:
            entry = await self._answered(project)
            self._put(project, entry)
            return entry.numbers
        finally:
            del self._asking[project]

    async def _answered(self, project: str) -> _Entry:
        try:
            numbers = await self._api.ask(project)
        except _Failed as error:
            NUMBERS_REQUESTS.count("failed")
            self._outage.tell(str(error), self._now())
            old = self._entry(project)
            last = self._now() if old is None else old.last
            return self._made(self._without(old), FAILED_SECONDS, last)
        NUMBERS_REQUESTS.count("unknown" if numbers is None else "answered")
        self._outage.tell(None, self._now())
        seconds = self._seconds if numbers is not None else min(UNKNOWN_SECONDS, self._seconds)
        return self._made(numbers, seconds, self._now() + LAST_KNOWN_SECONDS)

    def _without(self, old: _Entry | None) -> Numbers | None:
        return old.numbers if old is not None and self._now() < old.last else self._local

    def _made(self, numbers: Numbers | None, seconds: float, last: float) -> _Entry:
        now = self._now()
        return _Entry(numbers, now + REFRESH_AT * seconds, now + seconds, last)

    def _put(self, project: str, entry: _Entry) -> None:
        self._projects.pop(project, None)
        self._others.pop(project, None)
        told = entry.numbers is not None and self._now() < entry.last
        table = self._projects if told else self._others
        table[project] = entry
        if len(table) > ENTRIES:
            table.popitem(last=False)
