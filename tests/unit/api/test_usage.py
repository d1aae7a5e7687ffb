"""Usage over REST, with a collector beside the API: what it is asked, and what callers are told of its answers."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from igw_api import collector as collector_module
from igw_api.collector import collector
from igw_usage.ledger import READ_SECONDS
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from tests.unit.api.installation import (
    ADMIN,
    OPERATOR,
    OTHER,
    VIEWER,
    Installation,
    installation,
    with_settings,
)
from tests.unit.api.usage_collector import StandIn, document, usage_collector

GATEWAY = "0a000000-0000-4000-8000-00000000000b"


@pytest_asyncio.fixture
async def beside() -> AsyncIterator[StandIn]:
    """Give a collector."""
    async with usage_collector() as running:
        yield running


@pytest_asyncio.fixture
async def api(beside: StandIn) -> AsyncIterator[Installation]:
    """Give an API beside it."""
    async with collector(beside.url) as source, installation(usage=source) as running:
        yield running


async def test_a_caller_sees_its_own_organisation(api: Installation, beside: StandIn) -> None:
    """Whatever the role; the collector is asked of that organisation alone, and nobody names another."""
    for token in (VIEWER, OTHER, ADMIN, OPERATOR):
        answer = await api.call("GET", "/usage", token=token)
        assert (answer.status, answer.body) == (200, document())
    expected = [{"organizationId": name} for name in ("acme", "other", "acme", "elsewhere")]
    assert beside.asked == expected
    refused = await api.call("GET", "/usage", organizationId="other")
    assert (refused.status, refused.body["message"]) == (400, "organizationId: unknown field")
    assert (await api.call("GET", "/usage", token=None)).status == 401
    assert beside.asked == expected


async def test_a_question_is_passed_on(api: Installation, beside: StandIn) -> None:
    """Ids in their normal spelling, times in UTC; the answer comes back as it is."""
    answer = await api.call(
        "GET",
        "/usage",
        gatewayId=GATEWAY.upper(),
        **{"from": "2026-01-31t09:00:30.5+02:00", "to": "2026-01-31T08:00:00Z"},
        groupBy="model",
        interval="hour",
    )
    assert (answer.status, answer.body) == (200, document("model", "hour"))
    assert beside.asked == [
        {
            "organizationId": "acme",
            "gatewayId": GATEWAY,
            "from": "2026-01-31T07:00:30.500Z",
            "to": "2026-01-31T08:00:00Z",
            "groupBy": "model",
            "interval": "hour",
        }
    ]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("gatewayId=chat", "gatewayId: must be a UUID"),
        ("gatewayId=", "gatewayId: must be a UUID"),
        ("groupBy=gateway", "groupBy: must be one of model, project, principal, deployment"),
        ("groupBy=Model", "groupBy: must be one of model, project, principal, deployment"),
        ("interval=week", "interval: must be one of minute, hour, day"),
        ("from=yesterday", "from: must be an RFC 3339 time such as 2026-01-31T08:00:00Z, from 1970 on"),
        (
            "to=1969-12-31T23:59:59Z",
            "to: must be an RFC 3339 time such as 2026-01-31T08:00:00Z, from 1970 on",
        ),
        (
            "from=2026-01-31T08:00:00Z&to=2026-01-31T08:00:59Z",
            "from: must be before to, by a minute at least",
        ),
        ("from=2026-02-01T08:00:00Z", "from: must be before to, by a minute at least"),
        ("limit=3", "limit: unknown field"),
        ("interval=day&interval=day", "interval: must be given once"),
        ("id=1&interval=week", "id: unknown field; interval: must be one of minute, hour, day"),
    ],
)
async def test_what_is_no_question(api: Installation, query: str, message: str) -> None:
    """Every field that breaks a rule is named; where only the collector knows, what it says is passed on."""
    answer = await api.call("GET", f"/usage?{query}")
    assert (answer.status, answer.body["code"], answer.body["message"]) == (400, "invalid_argument", message)
    fields = [one["field"] for one in answer.body["details"][0]["debug"]["fieldViolations"]]
    assert fields == [part.split(":")[0] for part in message.split("; ")]


@pytest.mark.parametrize(
    "instead",
    [
        PlainTextResponse("no JSON"),
        JSONResponse({}),
        JSONResponse([document()]),
        JSONResponse({**document(), "totals": {}}),
        JSONResponse({**document(), "items": [{**document()["items"][0], "requests": -1}]}),
        JSONResponse({**document(), "items": document()["items"] * 1001}),
        PlainTextResponse("[" * 100_000),
        PlainTextResponse(" " * (4 * 1024 * 1024 + 1)),
        JSONResponse({"message": "what?"}, 500),
        JSONResponse({"message": "what?"}, 400),
        RedirectResponse("http://127.0.0.1:1/usage"),
    ],
    ids=[
        "text",
        "empty",
        "list",
        "no totals",
        "negative",
        "too many",
        "deep",
        "large",
        "fault",
        "bad",
        "redirect",
    ],
)
async def test_an_answer_that_is_none(api: Installation, beside: StandIn, instead: Response) -> None:
    """Whatever the collector says instead of a document of usage, callers are told to try again, and nothing of it."""
    beside.instead = instead
    answer = await api.call("GET", "/usage")
    assert (answer.status, answer.body["code"], answer.body["message"]) == (
        503,
        "unavailable",
        "the usage collector cannot be asked at the moment: try again",
    )


async def test_what_the_contract_does_not_name_is_left_out(api: Installation, beside: StandIn) -> None:
    """A newer collector may say more; callers get what this API documents."""
    beside.instead = JSONResponse({**document(), "secret": 1, "truncated": True})
    assert (await api.call("GET", "/usage")).body == {**document(), "truncated": True}


async def test_a_collector_that_is_slow(beside: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for for as long as it reads at most and a little more, headers and body together."""
    assert READ_SECONDS < collector_module.TIMEOUT_SECONDS == 12.0
    monkeypatch.setattr(collector_module.Collector.__init__, "__defaults__", (0.1,))
    beside.delay = 30
    async with collector(beside.url) as source, installation(usage=source) as api:
        assert (await api.call("GET", "/usage")).status == 503


async def test_too_much_is_asked(api: Installation, beside: StandIn) -> None:
    """A question that takes the collector too long would again: callers are told what helps."""
    beside.instead = JSONResponse({"message": "too busy to answer; ask for less, or later"}, 503)
    answer = await api.call("GET", "/usage")
    assert (answer.status, answer.body["code"], answer.body["message"]) == (
        503,
        "unavailable",
        "the usage collector is too busy for this: ask for less time, or later",
    )


async def test_a_collector_that_is_gone() -> None:
    """Its absence is a passing failure, and other calls are answered."""
    async with collector("http://127.0.0.1:1") as source, installation(usage=source) as api:
        assert (await api.call("GET", "/usage")).status == 503
        assert (await api.call("GET", "/gateways")).status == 200


async def test_an_installation_without_a_collector() -> None:
    """The method is not implemented there, which the message explains; a bad question is still a bad question."""
    async with collector(None) as source, installation(usage=source) as api:
        answer = await api.call("GET", "/usage")
        assert (answer.status, answer.body["code"]) == (501, "unimplemented")
        assert "--usage-url" in answer.body["message"]
        assert (await api.call("GET", "/usage", interval="week")).status == 400


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:18031", "ftp://a", "http://", "http://a:99999", "http://u:p@a", "http://a?b"]
)
def test_a_place_that_is_no_url(url: str) -> None:
    """It is refused at the start, not at the first question."""
    with pytest.raises(ValueError, match="must be an http:// or https:// URL"):
        with_settings(usage_url=url)
