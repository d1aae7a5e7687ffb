"""What projects may, asked of a real server over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from igw_extauth.limits import numbers as subject
from igw_extauth.limits.numbers import AskedNumbers, NumbersApi
from igw_extauth.limits.project import Numbers

from tests.unit.limits.limits_api import TOKEN, LimitsApi, Mode, limits_api

LOCAL = Numbers(100, 6000, 1_000_000, None)
ANN = "ann/inference"
TOLD = {"concurrency": 8, "requestsPerMinute": 600, "tokensPerMinute": 100_000, "quotaTokens": 5_000_000}
TOLD_NUMBERS = Numbers(8, 600, 100_000, 5_000_000)


class Setting:
    """A source over an API, that a test shapes."""

    def __init__(self, api: LimitsApi, folder: Path) -> None:
        self.api = api
        self.token = folder / "token"
        self.token.write_text(f"{TOKEN}\n")
        self.sources: list[AskedNumbers] = []

    def source(self, seconds: float = 60) -> AskedNumbers:
        """Make a source that remembers answers for a time."""
        self.sources.append(AskedNumbers(NumbersApi(self.api.url, self.token, LOCAL), LOCAL, seconds))
        return self.sources[-1]


@pytest_asyncio.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    """Run an API that knows one project."""
    async with limits_api() as api:
        api.projects[ANN] = TOLD
        made = Setting(api, tmp_path)
        yield made
        for source in made.sources:
            await source.aclose()


@pytest.mark.parametrize(
    ("told", "numbers"),
    [
        (TOLD, TOLD_NUMBERS),
        ({}, LOCAL),
        ({"concurrency": None, "more": 1}, Numbers(None, 6000, 1_000_000, None)),
        ({"requestsPerMinute": 0}, Numbers(100, 0, 1_000_000, None)),
        ({**TOLD, "quotaUsedUp": True}, Numbers(8, 600, 100_000, 0)),
        ({"quotaTokens": None, "quotaUsedUp": False}, LOCAL),
    ],
)
async def test_what_is_told(setting: Setting, told: dict[str, int], numbers: Numbers) -> None:
    """A number holds, null is no limit, what is not told is local, and a quota that is used up is one of nothing."""
    setting.api.projects[ANN] = told
    assert await setting.source().of(ANN) == numbers


async def test_names_are_sent_as_they_are(setting: Setting) -> None:
    """Whatever characters a project has, it is one value of the query."""
    setting.api.projects["ü&=/a b%2F?#"] = TOLD
    assert await setting.source().of("ü&=/a b%2F?#") == TOLD_NUMBERS


async def test_one_question_at_a_time(setting: Setting) -> None:
    """Many requests of a project ask once, and those that come later not at all."""
    source = setting.source()
    assert await asyncio.gather(*(source.of(ANN) for _ in range(20))) == [TOLD_NUMBERS] * 20
    assert await source.of(ANN) == TOLD_NUMBERS
    assert setting.api.calls == {ANN: 1}


async def test_a_project_that_does_not_exist(setting: Setting) -> None:
    """It is remembered that there is none, for less long."""
    source = setting.source(seconds=0.1)
    assert [await source.of("ann/none") for _ in range(3)] == [None] * 3
    assert setting.api.calls == {"ann/none": 1}
    setting.api.projects["ann/none"] = TOLD
    await asyncio.sleep(0.11)
    assert await source.of("ann/none") == TOLD_NUMBERS


async def test_answers_are_refreshed_in_the_background(setting: Setting) -> None:
    """Near the end of an answer's time it is asked anew, and nobody waits for that."""
    source = setting.source(seconds=60)
    await source.of(ANN)
    late = source._now() + 50
    source._now = lambda: late
    setting.api.projects[ANN] = {"concurrency": 1}
    setting.api.open.clear()
    assert await source.of(ANN) == TOLD_NUMBERS
    setting.api.open.set()
    while setting.api.calls[ANN] < 2 or source._asking:  # noqa: ASYNC110 - a counter has no event
        await asyncio.sleep(0.005)
    assert await source.of(ANN) == Numbers(1, 6000, 1_000_000, None)


async def test_a_failure_is_no_limit(setting: Setting) -> None:
    """Whatever is wrong with an answer, the last good one goes on being used, and else the local numbers."""
    wrong = [mode for mode in Mode if mode is not Mode.TRUE]
    sources = {mode: setting.source(seconds=0.05) for mode in wrong}
    for source in sources.values():
        assert [await source.of(project) for project in (ANN, "ann/none")] == [TOLD_NUMBERS, None]
    await asyncio.sleep(0.06)
    for mode, source in sources.items():
        setting.api.mode = mode
        got = [await source.of(project) for project in (ANN, "ann/none", "ann/new")]
        assert (mode, *got) == (mode, TOLD_NUMBERS, None, LOCAL)
    assert setting.api.calls == {ANN: 2 * len(wrong), "ann/none": 2 * len(wrong), "ann/new": len(wrong)}
    assert setting.api.elsewhere == 0


async def test_an_outage_costs_a_question_now_and_then(setting: Setting) -> None:
    """While there is no answer nobody waits for one at each request."""
    setting.api.mode = Mode.FAILING
    source = setting.source()
    assert [await source.of(ANN) for _ in range(5)] == [LOCAL] * 5
    assert setting.api.calls == {ANN: 1}


async def test_the_last_answer_is_not_used_for_ever(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an hour without an answer what was told is too old."""
    monkeypatch.setattr(subject, "LAST_KNOWN_SECONDS", 0.1)
    source = setting.source(seconds=0.05)
    await source.of(ANN)
    setting.api.mode = Mode.FAILING
    await asyncio.sleep(0.11)
    assert await source.of(ANN) == LOCAL


async def test_a_silent_api_costs_a_bounded_time(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question ends when its time is over."""
    monkeypatch.setattr(subject, "ANSWER_SECONDS", 0.1)
    setting.api.open.clear()
    async with asyncio.timeout(1):
        assert await setting.source().of(ANN) == LOCAL


async def test_questions_under_way_are_bounded(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """When very many projects wait for a silent API, the next does not."""
    monkeypatch.setattr(subject, "MAX_ASKING", 3)
    setting.api.open.clear()
    source = setting.source()
    waiting = [asyncio.create_task(source.of(f"ann/{i}")) for i in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        assert await source.of(ANN) == LOCAL
    setting.api.open.set()
    assert await asyncio.gather(*waiting) == [None] * 3


async def test_a_flood_of_names_evicts_no_project(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are no projects are remembered apart, and both tables are bounded."""
    monkeypatch.setattr(subject, "ENTRIES", 2)
    source = setting.source()
    setting.api.projects |= {f"bob/{i}": {} for i in range(3)}
    for project in (*(f"bob/{i}" for i in range(3)), ANN, *(f"ann/{i}" for i in range(5)), ANN):
        await source.of(project)
    assert setting.api.calls[ANN] == 1
    assert (len(source._projects), len(source._others)) == (2, 2)


async def test_the_token_may_be_replaced(setting: Setting) -> None:
    """The file is read for each question; while it cannot be read there is no answer."""
    source = setting.source(seconds=0.05)
    setting.token.unlink()
    assert await source.of("ann/new") == LOCAL
    setting.token.write_text(TOKEN)
    assert await source.of(ANN) == TOLD_NUMBERS
