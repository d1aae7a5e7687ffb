"""`igw usage` against the real API, which knows of usage what each test says: what it asks for and what it prints."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from igw_cli.client import Exit
from igw_cli.plot import interval_for, show_plots
from igw_cli.usage import write_csv
from rich.console import Console

from tests.builders import deployment_id, deployment_spec, gateway_id, gateway_spec, without
from tests.unit.cli.api_server import ApiServer, api_server
from tests.unit.cli.program import Done, run

NAMES = (
    "requests",
    "errors",
    "streamed",
    "partial",
    "promptTokens",
    "completionTokens",
    "cachedTokens",
    "totalTokens",
)
NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)


def counts(*numbers: int, seconds: float = 0.0) -> dict[str, Any]:
    """Give counts in the order of `NAMES`; those left out are 0."""
    padded = (*numbers, *[0] * (len(NAMES) - len(numbers)))
    return {**dict(zip(NAMES, padded, strict=True)), "durationSeconds": seconds}


def item(key: str | None, *numbers: int, start: str | None = None, seconds: float = 0.0) -> dict[str, Any]:
    """Give an item."""
    return {"start": start, "key": key, **counts(*numbers, seconds=seconds)}


def document(*items: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Give an answer of the API; its totals are the items' sums."""
    totals = {name: sum(one[name] for one in items) for name in (*NAMES, "durationSeconds")}
    times = {"from": "2026-01-31T06:00:00Z", "to": "2026-01-31T08:00:00Z"}
    return {**times, "groupBy": None, "interval": None, "items": list(items), "totals": totals, **more}


@dataclass
class Known:
    """A source of usage: what it was asked, and its one answer."""

    answer: dict[str, Any] = field(default_factory=document)
    asked: list[Mapping[str, str]] = field(default_factory=list)

    async def usage(self, question: Mapping[str, str]) -> dict[str, Any]:
        """Answer."""
        self.asked.append(question)
        return self.answer


@pytest.fixture
def known() -> Known:
    """Give what is known of usage."""
    return Known()


@pytest.fixture
def api(known: Known) -> Iterator[ApiServer]:
    """Give an API that has a gateway and a deployment."""
    with api_server(usage=known) as server:
        server.send("POST", "gateways", without(gateway_spec(name="chat"), "organizationId"))
        server.send("POST", "deployments", without(deployment_spec(1, name="stable"), "organizationId"))
        yield server


def igw(api: ApiServer, *arguments: str, **more: str) -> Done:
    """Run `igw usage` as a viewer."""
    environment = {"IGW_SERVER": api.url, "IGW_TOKEN": api.viewer, "IGW_CONFIG": "", **more}
    return run("usage", *arguments, **environment)


def words(done: Done) -> list[str]:
    """Give the lines with one space between words."""
    return [" ".join(line.split()) for line in done.lines]


def test_the_whole(api: ApiServer, known: Known) -> None:
    """Without options one row, of the last day as the collector has it."""
    known.answer = document(item(None, 1200, 10, 3, 2, 1_000_000, 234_567, 50, 1_234_567))
    done = igw(api)
    assert (done.status, words(done)) == (
        0,
        [
            "REQUESTS ERRORS STREAMED PARTIAL PROMPT CACHED COMPLETION TOKENS",
            "TOTAL 1,200 10 3 2 1,000,000 50 234,567 1,234,567",
            "From 2026-01-31T06:00:00Z to 2026-01-31T08:00:00Z.",
        ],
    )
    assert known.asked == [{"organizationId": "acme"}]


def test_groups(api: ApiServer, known: Known) -> None:
    """A row for each, one for requests that belong to none, and their total; numbers are aligned to the right."""
    rows = (item("demo/small", 10, 0, 0, 0, 900, 100, 0, 1000), item(None, 2), item("a\x1b[2J", 1))
    known.answer = document(*rows, groupBy="model", truncated=True)
    done = igw(api, "--group-by", "model")
    assert words(done) == [
        "MODEL REQUESTS ERRORS STREAMED PARTIAL PROMPT CACHED COMPLETION TOKENS",
        "demo/small 10 0 0 0 900 0 100 1,000",
        "(none) 2 0 0 0 0 0 0 0",
        "a\ufffd[2J 1 0 0 0 0 0 0 0",
        "TOTAL 13 0 0 0 900 0 100 1,000",
        "From 2026-01-31T06:00:00Z to 2026-01-31T08:00:00Z.",
        "There is more than this shows; the total has all of it.",
    ]
    assert len({len(line) for line in done.lines[:5]}) == 1
    assert known.asked == [{"organizationId": "acme", "groupBy": "model"}]


def test_a_series(api: ApiServer, known: Known) -> None:
    """With an interval the rows begin with their times."""
    known.answer = document(
        item("m", 1, start="2026-01-31T06:00:00Z"),
        item("m", 2, start="2026-01-31T07:00:00Z"),
        groupBy="principal",
        interval="hour",
    )
    lines = words(igw(api, "--group-by", "principal", "--interval", "hour"))
    assert [line.split()[:3] for line in lines[:4]] == [
        ["START", "PRINCIPAL", "REQUESTS"],
        ["2026-01-31T06:00:00Z", "m", "1"],
        ["2026-01-31T07:00:00Z", "m", "2"],
        ["TOTAL", "3", "0"],
    ]


def test_groups_are_called_by_their_names(api: ApiServer, known: Known) -> None:
    """A deployment that is there by its name, one that is gone by its id; projects as they are: nothing is encoded."""
    gone = deployment_id(7)
    known.answer = document(item(deployment_id(1), 1), item(gone, 1), groupBy="deployment")
    found = [line.split()[0] for line in words(igw(api, "--group-by", "deployment"))[1:3]]
    assert found == ["stable", gone]
    known.answer = document(item("acme/100%25 mine", 1), groupBy="project")
    assert words(igw(api, "--group-by", "project"))[1].startswith("acme/100%25 mine 1")


@pytest.mark.parametrize("name", ["chat", gateway_id(1)])
def test_a_gateway_by_name_or_id(api: ApiServer, known: Known, name: str) -> None:
    """The API is asked by id."""
    assert igw(api, "--gateway", name).status == 0
    assert known.asked == [{"organizationId": "acme", "gatewayId": gateway_id(1)}]


def test_a_gateway_that_is_gone(api: ApiServer, known: Known) -> None:
    """What it used is still to be had by its id; its name says nothing any more."""
    assert igw(api, "--gateway", gateway_id(9)).status == 0
    assert known.asked == [{"organizationId": "acme", "gatewayId": gateway_id(9)}]
    done = igw(api, "--gateway", "gone")
    assert (done.status, done.err) == (Exit.NOT_FOUND, "igw: no gateway has the name or id 'gone'\n")


def test_times(api: ApiServer, known: Known) -> None:
    """As they are, in any zone, or as ages."""
    assert igw(api, "--from", "2026-01-31T09:00:00+02:00", "--to", "2026-02-01").status == 0
    assert known.asked.pop() == {
        "organizationId": "acme",
        "from": "2026-01-31T07:00:00Z",
        "to": "2026-02-01T00:00:00Z",
    }
    for option in ("--since", "--from"):
        assert igw(api, option, "2h").status == 0
        asked = known.asked.pop()
        assert set(asked) == {"organizationId", "from"}
        passed = datetime.now(UTC) - datetime.fromisoformat(asked["from"])
        assert timedelta(hours=2) <= passed < timedelta(hours=2, minutes=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "soon"], "igw: --since 'soon' is neither a time nor an age (90s, 10m, 2h, 7d)\n"),
        (["--to", "999999999d"], "igw: --to '999999999d' is neither a time nor an age (90s, 10m, 2h, 7d)\n"),
        (
            ["--since", "1h", "--to", "1m"],
            "igw: --since says what --from and --to say: give the one or the others\n",
        ),
        (
            ["--from", "1h", "--to", "2h"],
            "igw: from: must be before to, by a minute at least (invalid_argument)\n",
        ),
    ],
    ids=["no time", "before all time", "twice", "backwards"],
)
def test_times_that_are_none(api: ApiServer, arguments: list[str], message: str) -> None:
    """The command or the API says what is wrong."""
    done = igw(api, *arguments)
    assert (done.status, done.out, done.err) == (Exit.INVALID, "", message)


def test_json_and_csv(api: ApiServer, known: Known) -> None:
    """JSON is the API's document; CSV has the fields of its items, and no totals."""
    rows = (item('a "b", c\nd', *range(8), start="2026-01-31T06:00:00Z"), item(None, 1234567))
    known.answer = document(*rows, groupBy="model", interval="hour")
    shape = ("--group-by", "model", "--interval", "hour")
    assert json.loads(igw(api, *shape, "-o", "json").out) == known.answer
    read = list(csv.DictReader(io.StringIO(igw(api, *shape, "-o", "csv").out, newline="")))
    told = [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]
    assert read == told


def test_csv_is_what_the_standard_says(capsys: pytest.CaptureFixture[str]) -> None:
    """RFC 4180: lines end in CR LF, and what has a quote, a comma or a line break in it is quoted."""
    row = item('a "b", c\nd', *range(8), start="2026-01-31T06:00:00Z", seconds=1.5)
    write_csv(document(row, item(None, 1)))
    assert capsys.readouterr().out == (
        "start,key,requests,errors,streamed,partial,promptTokens,completionTokens,cachedTokens,totalTokens,"
        "durationSeconds\r\n"
        '2026-01-31T06:00:00Z,"a ""b"", c\nd",0,1,2,3,4,5,6,7,1.5\r\n'
        ",,1,0,0,0,0,0,0,0,0.0\r\n"
    )


def test_csv_of_a_part(api: ApiServer, known: Known) -> None:
    """Rows that are missing are told of, where no program reads it as one."""
    known.answer = document(item("m", 1), groupBy="model", truncated=True)
    done = igw(api, "--group-by", "model", "-o", "csv")
    assert (done.status, len(done.lines), done.err) == (0, 2, "igw: There is more than this shows\n")


@pytest.mark.parametrize(
    ("key", "told"),
    [("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@a", "'@a"), ("\t=1", "'\t=1"), ("a=1", "a=1")],
)
def test_csv_is_no_program(capsys: pytest.CaptureFixture[str], key: str, told: str) -> None:
    """Callers choose the names of models and projects that they ask for: a spreadsheet must not run them."""
    write_csv(document(item(key, 1)))
    assert capsys.readouterr().out.splitlines()[1] == f",{told},1,0,0,0,0,0,0,0,0.0"


def test_a_plot(api: ApiServer, known: Known) -> None:
    """A bar for every minute, hour or day, at most 80 columns wide, also where nothing was used."""
    known.answer = document(
        item(None, 1, 0, 0, 0, 0, 0, 0, 500, start="2026-01-31T06:00:00Z"),
        item(None, 1, 0, 0, 0, 0, 0, 0, 1000, start="2026-01-31T08:00:00Z"),
        interval="hour",
        **{"from": "2026-01-31T06:30:00Z", "to": "2026-01-31T08:30:00Z"},
    )
    done = igw(api, "-o", "plot")
    assert known.asked == [{"organizationId": "acme", "interval": "hour"}]
    assert done.lines == [
        "all  1,500 tokens",
        "01-31 06:00    500  " + "█" * 30,
        "01-31 07:00      0",
        "01-31 08:00  1,000  " + "█" * 60,
        "",
        "From 2026-01-31T06:30:00Z to 2026-01-31T08:30:00Z.",
    ]


@pytest.mark.parametrize(
    ("arguments", "interval"),
    [
        (["--since", "90m"], "minute"),
        (["--from", "2d"], "hour"),
        (["--to", "2026-01-31"], "hour"),
        (["--since", "7d"], "day"),
        (["--since", "7d", "--interval", "hour"], "hour"),
    ],
)
def test_a_plot_has_bars_that_one_can_count(
    api: ApiServer, known: Known, arguments: list[str], interval: str
) -> None:
    """Unless it is said how long they are, that is chosen by the time that they are of."""
    known.answer = document(interval=interval)
    assert igw(api, "-o", "plot", *arguments).status == 0
    assert known.asked[0]["interval"] == interval


def test_too_many_bars(api: ApiServer, known: Known) -> None:
    """More than anybody reads are refused."""
    known.answer = document(interval="minute", **{"from": "2026-01-30T00:00:00Z"})
    done = igw(api, "-o", "plot", "--interval", "minute")
    assert (done.status, done.out) == (Exit.INVALID, "")
    assert done.err == "igw: 1920 bars are more than one can read: choose a longer --interval\n"


def test_a_plot_of_a_part(api: ApiServer, known: Known) -> None:
    """Where an answer leaves the latest out, their bars would be empty: there is no plot."""
    known.answer = document(interval="minute", truncated=True)
    done = igw(api, "-o", "plot", "--group-by", "project")
    assert (done.status, done.out) == (Exit.INVALID, "")
    assert done.err == "igw: there is more than one answer holds: choose a longer --interval\n"


def plotted(told: Mapping[str, Any], **options: Any) -> list[str]:
    """Give the lines of plots."""
    out = options.pop("file", None) or io.StringIO()
    show_plots(told, {}, Console(file=out, width=41, **options))
    out.seek(0)
    return [line.rstrip() for line in out.read().splitlines()]


def test_plots_of_groups() -> None:
    """The largest first, all on one scale; the smallest are one plot."""
    rows = [
        item(f"m{number}", 1, 0, 0, 0, 0, 0, 0, 10 * number, start="2026-01-31T06:00:00Z")
        for number in range(1, 9)
    ]
    told = document(*rows, groupBy="model", interval="hour")
    lines = plotted(told)
    assert lines[:8] == [
        "m8  80 tokens",
        "01-31 06:00  80  " + "█" * 24,
        "01-31 07:00   0",
        "",
        "m7  70 tokens",
        "01-31 06:00  70  " + "█" * 21,
        "01-31 07:00   0",
        "",
    ]
    assert [line.split()[0] for line in lines[::4]] == ["m8", "m7", "m6", "m5", "m4", "(others)"]
    assert lines[20:22] == ["(others)  60 tokens", "01-31 06:00  60  " + "█" * 18]


def test_a_plot_where_there_are_no_blocks() -> None:
    """A terminal that knows ASCII alone gets ASCII alone."""
    row = item(None, 1, 0, 0, 0, 0, 0, 0, 10, start="2026-01-31T06:00:00Z")
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    lines = plotted(document(row, interval="hour"), file=raw)
    assert lines[1] == "01-31 06:00  10  " + "#" * 24


@pytest.mark.parametrize(
    ("span", "interval"),
    [
        (timedelta(hours=2), "minute"),
        (timedelta(hours=2, seconds=1), "hour"),
        (timedelta(days=4), "hour"),
        (timedelta(days=5), "day"),
    ],
    ids=["two hours", "more", "four days", "five"],
)
def test_the_interval_of_a_plot(span: timedelta, interval: str) -> None:
    """At most some hundred and twenty bars, up to four months."""
    assert interval_for(span) == interval


def test_no_collector() -> None:
    """What the API says is told, with its exit status."""
    with api_server() as server:
        done = igw(server)
        assert (done.status, done.out) == (Exit.FAILED, "")
        assert "shows no usage" in done.err
