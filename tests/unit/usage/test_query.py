"""Questions about usage, and their answers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from igw_usage import query as queries
from igw_usage.ledger import Ledger
from igw_usage.query import Group, Interval, Query, WrongError, query

from tests.unit.usage.lines import export, line, usage
from tests.unit.usage.scene import asked, opened

NOW = 1_700_000_130.5
MINUTE = 28_333_335
"""The minute of `NOW`: 2023-11-14T22:15Z."""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Query(MINUTE + 1 - 1440, MINUTE + 1)),
        ({"to": "2023-11-14T22:15:59Z"}, Query(MINUTE - 1440, MINUTE)),
        ({"from": "2023-11-14T22:10:59.999Z"}, Query(MINUTE - 5, MINUTE + 1)),
        ({"from": "2023-11-14T23:10:00+01:00"}, Query(MINUTE - 5, MINUTE + 1)),
        ({"from": "2023-11-14t22:10:00z"}, Query(MINUTE - 5, MINUTE + 1)),
        ({"to": "0001-01-01T00:10:00Z"}, Query(-1_035_593_280, -1_035_593_270)),
        (
            {"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"},
            Query(-1_035_593_280, 4_223_371_679),
        ),
        (
            {"organizationId": "o", "gatewayId": "g", "groupBy": "project", "interval": "day"},
            Query(MINUTE + 1 - 1440, MINUTE + 1, "o", "g", Group.PROJECT, Interval.DAY),
        ),
    ],
    ids=lambda value: "-".join(value) or "nothing" if isinstance(value, dict) else None,
)
def test_questions(given: dict[str, str], expected: Query) -> None:
    """Times are rounded down to minutes; without them it is the last 24 hours, this minute included."""
    assert query(given.items(), NOW) == expected


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([("from", "yesterday")], "from"),
        ([("from", "2023-11-14")], "from"),
        ([("from", "2023-11-14T22:10:00")], "from"),
        ([("from", "2023-11-14T22:10:00 01:00")], "from"),
        ([("from", "2023-02-30T22:10:00Z")], "from"),
        ([("from", "0001-01-01T00:00:00+23:59")], "from"),
        ([("to", "2023-11-14T25:10:00Z")], "to"),
        ([("to", "0000-11-14T22:10:00Z")], "to"),
        ([("from", "2023-11-14T22:15:00Z"), ("to", "2023-11-14T22:15:59Z")], "from"),
        ([("from", "2023-11-14T22:15:00Z"), ("to", "2023-11-14T22:10:00Z")], "from"),
        ([("groupBy", "gateway")], "groupBy"),
        ([("groupBy", "")], "groupBy"),
        ([("interval", "week")], "interval"),
        ([("gatewayId", "")], "gatewayId"),
        ([("gatewayId", "g" * 513)], "gatewayId"),
        ([("organizationId", "a"), ("organizationId", "b")], "organizationId"),
        ([("group_by", "model")], "group_by"),
    ],
    ids=lambda value: "&".join("=".join(pair)[:40] for pair in value) if isinstance(value, list) else None,
)
def test_wrong_questions(given: list[tuple[str, str]], field: str) -> None:
    """What makes no sense is refused, and the parameter at fault is named."""
    with pytest.raises(WrongError, match=field) as refused:
        query(given, NOW)
    assert refused.value.field == field


NOTHING: dict[str, Any] = {
    "requests": 0,
    "errors": 0,
    "streamed": 0,
    "partial": 0,
    "promptTokens": 0,
    "completionTokens": 0,
    "cachedTokens": 0,
    "totalTokens": 0,
    "durationSeconds": 0.0,
}
ONE: dict[str, Any] = NOTHING | {
    "requests": 1,
    "promptTokens": 5,
    "completionTokens": 7,
    "totalTokens": 12,
    "durationSeconds": 1.5,
}
TWO: dict[str, Any] = {name: 2 * value for name, value in ONE.items()}


def item(key: str | None = None, start: str | None = None, **counts: float) -> dict[str, Any]:
    """Give an item of an answer."""
    return {"start": start, "key": key} | ONE | counts


@pytest_asyncio.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Give a ledger with five requests of two gateways, from 22:13:20 to 23:53:20."""
    async with opened(tmp_path) as made:
        await made.export(
            export(
                line(0, project="team/a", entity="team"),
                line(1, project="team/b", entity="team", principal="bob"),
                line(60, project="team/a", entity="team", status="500", usage="-"),
                line(
                    6000,
                    gateway="gw-2",
                    model="large",
                    deployment="dep-2",
                    usage=usage(100, 50, cached_tokens=9),
                ),
                line(
                    7,
                    organization="org-2",
                    gateway="gw-3",
                    model="-",
                    deployment="-",
                    status="404",
                    usage="-",
                ),
            )
        )
        yield made


LARGE: dict[str, Any] = {"promptTokens": 100, "completionTokens": 50, "totalTokens": 150, "cachedTokens": 9}
FAILED: dict[str, Any] = NOTHING | {"requests": 1, "errors": 1, "durationSeconds": 1.5}
SMALL: dict[str, Any] = TWO | {"requests": 3, "errors": 1, "durationSeconds": 4.5}


@pytest.mark.parametrize(
    ("question", "items"),
    [
        ({"groupBy": "model"}, [item("large", **LARGE), item("small", **SMALL), item(None, **FAILED)]),
        ({"groupBy": "model", "organizationId": "org-1"}, [item("large", **LARGE), item("small", **SMALL)]),
        ({"groupBy": "model", "organizationId": "org-2"}, [item(None, **FAILED)]),
        ({"groupBy": "model", "organizationId": "org-3"}, []),
        ({"groupBy": "model", "organizationId": "org-2", "gatewayId": "gw-1"}, []),
        ({"groupBy": "deployment", "gatewayId": "gw-2"}, [item("dep-2", **LARGE)]),
        (
            {"groupBy": "project", "gatewayId": "gw-1"},
            [item("team/a", **(ONE | {"requests": 2, "errors": 1, "durationSeconds": 3.0})), item("team/b")],
        ),
        (
            {"groupBy": "principal", "gatewayId": "gw-1"},
            [item("ann", **(ONE | {"requests": 2, "errors": 1, "durationSeconds": 3.0})), item("bob")],
        ),
        ({"gatewayId": "gw-1"}, [item(None, **SMALL)]),
        (
            {"gatewayId": "gw-1", "interval": "minute"},
            [item(start="2023-11-14T22:13:00Z", **TWO), item(start="2023-11-14T22:14:00Z", **FAILED)],
        ),
        (
            {"organizationId": "org-1", "interval": "hour", "groupBy": "model"},
            [item("small", "2023-11-14T22:00:00Z", **SMALL), item("large", "2023-11-14T23:00:00Z", **LARGE)],
        ),
        (
            {"organizationId": "org-1", "interval": "day"},
            [
                item(
                    start="2023-11-14T00:00:00Z",
                    requests=4,
                    errors=1,
                    promptTokens=110,
                    completionTokens=64,
                    cachedTokens=9,
                    totalTokens=174,
                    durationSeconds=6.0,
                )
            ],
        ),
        ({"gatewayId": "gw-1", "from": "2023-11-14T22:14:00Z"}, [item(None, **FAILED)]),
        ({"gatewayId": "gw-1", "to": "2023-11-14T22:14:00Z"}, [item(None, **TWO)]),
        ({"gatewayId": "gw-1", "to": "2023-11-14T22:13:59Z"}, []),
    ],
    ids=lambda value: "&".join(map("=".join, value.items())) if isinstance(value, dict) else "",
)
async def test_answers(ledger: Ledger, question: dict[str, str], items: list[dict[str, Any]]) -> None:
    """Items by start, then the most tokens, then key; totals are the sums of all items."""
    told = await asked(ledger, **question)
    assert told["items"] == items
    assert told["totals"] == {name: sum(one[name] for one in items) for name in NOTHING}
    assert (told["groupBy"], told["interval"]) == (question.get("groupBy"), question.get("interval"))
    assert "truncated" not in told


async def test_the_whole_document(ledger: Ledger) -> None:
    """It says what it is about."""
    question = {"from": "2023-11-14T22:13:30Z", "to": "2023-11-14T22:14:30Z", "organizationId": "org-1"}
    assert await asked(ledger, **question) == {
        "from": "2023-11-14T22:13:00Z",
        "to": "2023-11-14T22:14:00Z",
        "groupBy": None,
        "interval": None,
        "items": [item(None, **TWO)],
        "totals": TWO,
    }


async def test_all_times(ledger: Ledger) -> None:
    """The first and the last there are can be asked for."""
    told = await asked(
        ledger, **{"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z", "gatewayId": "gw-1"}
    )
    assert (told["from"], told["to"]) == ("0001-01-01T00:00:00Z", "9999-12-31T23:59:00Z")
    assert told["totals"] == SMALL


async def test_equal_tokens_are_sorted_by_key(tmp_path: Path) -> None:
    """So an answer is the same each time."""
    async with opened(tmp_path) as ledger:
        await ledger.export(export(*(line(n, model=name) for n, name in enumerate("cab"))))
        assert [one["key"] for one in (await asked(ledger, groupBy="model"))["items"]] == ["a", "b", "c"]


async def test_too_many_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first so many are given, and it is said; totals are of all."""
    monkeypatch.setattr(queries, "MAX_ITEMS", 2)
    async with opened(tmp_path) as ledger:
        await ledger.export(export(line(1, model="a"), line(2, model="b")))
        assert "truncated" not in await asked(ledger, groupBy="model")
        await ledger.export(export(line(3, model="c")))
        told = await asked(ledger, groupBy="model")
        assert (told["truncated"], len(told["items"]), told["totals"]["requests"]) == (True, 2, 3)
