"""What Prometheus and OpenTelemetry are told, and that it stays little."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_demo.serving import running
from igw_usage import generative as generatives
from igw_usage import histograms, otel
from igw_usage.delivery import Verdict
from igw_usage.generative import DURATION, FIRST_TOKEN, TOKENS, Generative
from igw_usage.histograms import Histograms, Instrument
from igw_usage.ledger import Stored
from igw_usage.metrics import Metrics
from igw_usage.otel import Pusher
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from tests.unit.usage.lines import export, line, read, usage
from tests.unit.usage.scene import Clock, opened, until

WAIT = Instrument("some.wait", "s", "Text.", ("of.what",), (1, 2.5))


def shown(collector: Collector) -> dict[str, float]:
    """Give what Prometheus reads of a collector, but for empty buckets and times of creation."""
    registry = CollectorRegistry()
    registry.register(collector)
    lines = generate_latest(registry).decode().splitlines()
    pairs = (said.rsplit(" ", 1) for said in lines if not said.startswith("#"))
    return {name: float(value) for name, value in pairs if "_created" not in name and float(value)}


def test_a_histogram() -> None:
    """A value that equals a bound is within it; OpenTelemetry's names become Prometheus'."""
    made = Histograms(WAIT)
    for value in (0.5, 1, 2, 9):
        made.observe(("a",), value)
    assert shown(made) == {
        'some_wait_seconds_bucket{le="1.0",of_what="a"}': 2,
        'some_wait_seconds_bucket{le="2.5",of_what="a"}': 3,
        'some_wait_seconds_bucket{le="+Inf",of_what="a"}': 4,
        'some_wait_seconds_count{of_what="a"}': 4,
        'some_wait_seconds_sum{of_what="a"}': 12.5,
    }
    assert made.otlp(5, 9) == {
        "name": "some.wait",
        "unit": "s",
        "description": "Text.",
        "histogram": {
            "aggregationTemporality": 2,
            "dataPoints": [
                {
                    "attributes": [{"key": "of.what", "value": {"stringValue": "a"}}],
                    "startTimeUnixNano": "5",
                    "timeUnixNano": "9",
                    "count": "4",
                    "sum": 12.5,
                    "bucketCounts": ["2", "1", "1"],
                    "explicitBounds": [1, 2.5],
                }
            ],
        },
    }


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.floats(0, 10))))
def test_series_are_bounded_and_lose_nothing(values: list[tuple[str, float]]) -> None:
    """Beyond the bound values go to `other`."""
    made = Histograms(WAIT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histograms, "MAX_SERIES", 2)
        for label, value in values:
            made.observe((label,), value)
    points = made.otlp(0, 1)["histogram"]["dataPoints"]
    assert len(points) <= 3
    assert sum(int(point["count"]) for point in points) == len(values)
    assert sum(point["sum"] for point in points) == pytest.approx(sum(value for _, value in values))


def test_the_conventions() -> None:
    """Names, units and buckets are those of the semantic conventions."""
    assert {of.name: (of.unit, list(of.bounds)) for of in (TOKENS, DURATION, FIRST_TOKEN)} == {
        "gen_ai.client.token.usage": (
            "{token}",
            [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864],
        ),
        "gen_ai.server.request.duration": (
            "s",
            [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
        ),
        "gen_ai.server.time_to_first_token": (
            "s",
            [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0],
        ),
    }


COMMON = 'gen_ai_operation_name="chat",gen_ai_provider_name="igw",gen_ai_request_model="small"'


def test_generative() -> None:
    """Tokens by type, durations with the error, and the first token of streams that went well."""
    made = Generative()
    made.observe(read(line(1, usage=usage(5, 7, streamed=True))))
    made.observe(read(line(2, status="503", usage="-")))
    made.observe(read(line(3, status="418", usage="-")))
    sums = {name: value for name, value in shown(made).items() if "_bucket" not in name}
    assert sums == {
        f'gen_ai_client_token_usage_count{{{COMMON},gen_ai_token_type="input"}}': 1,
        f'gen_ai_client_token_usage_sum{{{COMMON},gen_ai_token_type="input"}}': 5,
        f'gen_ai_client_token_usage_count{{{COMMON},gen_ai_token_type="output"}}': 1,
        f'gen_ai_client_token_usage_sum{{{COMMON},gen_ai_token_type="output"}}': 7,
        f'gen_ai_server_request_duration_seconds_count{{error_type="",{COMMON}}}': 1,
        f'gen_ai_server_request_duration_seconds_sum{{error_type="",{COMMON}}}': 1.5,
        f'gen_ai_server_request_duration_seconds_count{{error_type="503",{COMMON}}}': 1,
        f'gen_ai_server_request_duration_seconds_sum{{error_type="503",{COMMON}}}': 1.5,
        f'gen_ai_server_request_duration_seconds_count{{error_type="_OTHER",{COMMON}}}': 1,
        f'gen_ai_server_request_duration_seconds_sum{{error_type="_OTHER",{COMMON}}}': 1.5,
        f"gen_ai_server_time_to_first_token_seconds_count{{{COMMON}}}": 1,
        f"gen_ai_server_time_to_first_token_seconds_sum{{{COMMON}}}": 0.25,
    }


def test_names_that_clients_make_up_are_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only models that were served are named, and only so many; the rest is `other`."""
    monkeypatch.setattr(generatives, "MAX_MODELS", 2)
    made = Generative()
    made.observe(read(line(1, deployment="-", model="made-up")))
    made.observe(read(line(2, model="-")))
    for number, model in enumerate(["a", "b", "c", "d", "a"]):
        made.observe(read(line(number, model=model)))
    named = {
        name.split('request_model="')[1].split('"')[0]: value
        for name, value in shown(made).items()
        if "_duration_seconds_count" in name
    }
    assert named == {"a": 2, "b": 1, "other": 2}


async def test_the_collectors_own(tmp_path: Path) -> None:
    """Records by what came of them, the ledger's rows, the outbox and its age, and reports."""
    clock = Clock()
    async with opened(tmp_path, clock) as ledger:
        metrics = Metrics(ledger, reports=True)
        stored = await ledger.export(export(line(1, reports="true", deployment="-"), line(2, gateway="-")))
        metrics.export("stored", stored, 0.002)
        metrics.export("full", Stored(), 0)
        metrics.report(Verdict.FAILED, 5)
        metrics.report(Verdict.REFUSED, 2)
        metrics.report(Verdict.DELIVERED, 3)
        clock.at += 30
        found = {name: value for name, value in shown(metrics).items() if "_bucket" not in name}
    assert found == {
        'igw_usage_exports_total{outcome="stored"}': 1,
        'igw_usage_exports_total{outcome="full"}': 1,
        'igw_usage_records_total{outcome="counted"}': 1,
        'igw_usage_records_total{outcome="unusable"}': 1,
        "igw_usage_export_seconds_count": 2,
        "igw_usage_export_seconds_sum": 0.002,
        'igw_usage_reports_total{outcome="failed"}': 1,
        'igw_usage_reports_total{outcome="refused"}': 1,
        'igw_usage_reports_total{outcome="delivered"}': 1,
        "igw_usage_reports_records_total": 3,
        "igw_usage_reports_refused_total": 2,
        'igw_usage_rows{table="outbox"}': 1,
        'igw_usage_rows{table="seen"}': 1,
        'igw_usage_rows{table="totals"}': 1,
        "igw_usage_outbox_records": 1,
        "igw_usage_outbox_oldest_seconds": 30,
    }


async def test_what_nobody_is_told_of_is_counted(tmp_path: Path) -> None:
    """Where reports are wanted and there is nobody to report to, that shows."""
    async with opened(tmp_path, reports=False) as ledger:
        metrics = Metrics(ledger, reports=False)
        metrics.export("stored", await ledger.export(export(line(1, reports="true"), line(2))), 0)
    assert shown(metrics)["igw_usage_records_unreported_total"] == 1


async def test_pushes(tmp_path: Path) -> None:
    """Metrics are sent as OTLP's JSON below the endpoint, all since the start each time; failures are told once."""
    del tmp_path
    got: list[Any] = []
    statuses = [200, 500, 500, 200]

    async def receive(request: Request) -> Response:
        got.append((request.headers["content-type"], json.loads(await request.body())))
        return Response(status_code=statuses.pop(0))

    made, outcomes = Generative(), list[str]()
    made.observe(read(line(1)))
    async with running(Starlette(routes=[Route("/at/v1/metrics", receive, methods=["POST"])])) as address:
        pusher = Pusher(f"{address.url}/at/", "one", made.otlp, outcomes.append)
        with capture_logs() as logs:
            pushing = asyncio.create_task(pusher.run(0.01))
            await until(lambda: len(got) == 3)
            pushing.cancel()
            await pusher.aclose()
    kind, document = got[0]
    (resource,) = document["resourceMetrics"]
    (scope,) = resource["scopeMetrics"]
    assert kind == "application/json"
    assert resource["resource"] == {
        "attributes": [
            {"key": "service.name", "value": {"stringValue": "igw-collector"}},
            {"key": "service.instance.id", "value": {"stringValue": "one"}},
        ]
    }
    assert [metric["name"] for metric in scope["metrics"]] == [TOKENS.name, DURATION.name, FIRST_TOKEN.name]
    point = scope["metrics"][1]["histogram"]["dataPoints"][0]
    assert (point["count"], point["sum"]) == ("1", 1.5)
    assert [one["key"] for one in point["attributes"]] == [
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
    ]
    assert outcomes[-1] == "sent"
    assert logs == [{"event": "otlp_metrics_unavailable", "log_level": "warning", "reason": "status 500"}]


async def test_a_push_to_nobody() -> None:
    """It fails, and hurts nothing."""
    outcomes: list[str] = []
    pusher = Pusher("http://127.0.0.1:1", "one", Generative().otlp, outcomes.append)
    await pusher.push()
    await pusher.aclose()
    assert outcomes == ["failed", "failed"]


async def test_an_answer_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after a time, however often a byte of it comes: a stop waits for the last push."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

    monkeypatch.setattr(otel, "ANSWER_SECONDS", 0.2)
    outcomes: list[str] = []
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    pusher = Pusher(url, "one", Generative().otlp, outcomes.append)
    await asyncio.wait_for(pusher.aclose(), 2)
    server.close()
    assert outcomes == ["failed"]
