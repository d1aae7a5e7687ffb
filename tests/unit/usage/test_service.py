"""A collector as Envoys, operators and the API meet it: gRPC on one port, HTTP on the other."""

import asyncio
import json
import resource
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from igw_ops.listening import CannotListenError
from igw_usage.database import CannotOpenError
from igw_usage.service import serve
from igw_usage.settings import Settings
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from pydantic import ValidationError

from tests.unit.usage.collector import Collector, collector
from tests.unit.usage.lines import line, read
from tests.unit.usage.scene import sums


def files(folder: Path) -> list[Path]:
    """Give what is in a folder."""
    return sorted(folder.iterdir())


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[Collector]:
    """Run one collector."""
    async with collector(state_dir=tmp_path / "state") as made:
        yield made


async def test_an_export_is_answered_and_counted(running: Collector) -> None:
    """The answer is an ExportLogsServiceResponse; at that moment the totals have it."""
    for expected in (1, 1, 2):
        answer = await running.export(line(expected))
        assert answer == logs_service_pb2.ExportLogsServiceResponse()
        assert await running.totals() == sums(read(line(number)) for number in range(1, expected + 1))


async def test_what_it_refuses(running: Collector) -> None:
    """What is no export is refused for good, and so is another method; neither harms it."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running.send(b"\xff\xff")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running.channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")(b"")
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await running.send(bytes(17 * 1024 * 1024))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await running.export(line(1))


async def test_a_message_of_megabytes(running: Collector) -> None:
    """What an Envoy gathered while the collector was away comes at once."""
    many = [line(number, principal="p" * 500) for number in range(6000)]
    await running.export(*many)
    assert (await running.totals())["requests"] == 6000


async def test_many_at_once(running: Collector) -> None:
    """Envoys' workers each send their own."""
    await asyncio.gather(*(running.export(line(number), line(number + 1000)) for number in range(200)))
    assert (await running.totals())["requests"] == 400


async def test_the_operations_port(running: Collector) -> None:
    """It is alive, ready, and answers questions; a wrong one is named."""
    await running.export(line(1), line(2, gateway="-"))
    assert [(await running.ops.get(path)).text for path in ("/healthz", "/readyz")] == ["ok\n"] * 2
    wrong = await running.ops.get("/usage", params={"groupBy": "colour"})
    assert (wrong.status_code, wrong.json()) == (
        400,
        {"field": "groupBy", "message": "groupBy: must be one of model, project, principal, deployment"},
    )
    assert (await running.ops.get("/status")).json() == {
        "failure": None,
        "rows": {"totals": 1, "seen": 1, "outbox": 0},
        "dropped": {"totals": 0, "seen": 0, "outbox": 0},
        "outbox": {"waiting": 0, "refused": 0, "oldestSeconds": 0.0},
        "waitingBytes": 0,
    }
    again = await running.ops.post("/reports/again")
    assert (again.status_code, again.json()) == (200, {"reports": 0})
    metrics = (await running.ops.get("/metrics")).text
    assert 'igw_usage_records_total{outcome="counted"} 1.0' in metrics
    assert 'igw_usage_records_total{outcome="unusable"} 1.0' in metrics
    assert 'igw_usage_exports_total{outcome="stored"} 1.0' in metrics


async def test_what_has_come_is_stored_and_answered_at_the_end(tmp_path: Path) -> None:
    """A stop loses nothing that was sent, and takes nothing more."""
    folder = tmp_path / "state"
    async with collector(state_dir=folder) as running:
        await running.export(line(0))
        sent = [asyncio.create_task(running.export(line(number))) for number in range(1, 100)]
        await asyncio.sleep(0.02)
        await running.stop()
        answers = await asyncio.gather(*sent, return_exceptions=True)
    stored = sum(isinstance(answer, logs_service_pb2.ExportLogsServiceResponse) for answer in answers)
    async with collector(state_dir=folder) as running:
        assert (await running.totals())["requests"] >= stored + 1


async def test_nothing_is_answered_before_it_is_on_disk(tmp_path: Path) -> None:
    """While the disk does not take an export there is no answer, so a kill at that moment loses nothing."""
    async with collector(state_dir=tmp_path) as running:
        await running.export(line(1))
        with closing(sqlite3.connect(tmp_path / "usage.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(running.export(line(2)))
            _, pending = await asyncio.wait([waiting], timeout=0.3)
            assert pending == {waiting}
            await running.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await waiting
    async with collector(state_dir=tmp_path) as running:
        assert await running.totals() == sums([read(line(1))])
        await running.export(line(2))
        assert (await running.totals())["requests"] == 2


async def test_a_stop_waits_for_the_disk(tmp_path: Path) -> None:
    """What has come by then is stored and answered, if the disk takes it in time."""
    async with collector(state_dir=tmp_path) as running:
        await running.export(line(1))
        with closing(sqlite3.connect(tmp_path / "usage.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(running.export(line(2)))
            await asyncio.sleep(0.2)
            stopping = asyncio.create_task(running.stop())
            await asyncio.sleep(1)
            assert not waiting.done()
        assert await waiting == logs_service_pb2.ExportLogsServiceResponse()
        await stopping


async def test_without_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is kept in a temporary folder, which a stop removes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with collector() as running:
        await running.export(line(1))
        assert (await running.totals())["requests"] == 1
        (folder,) = files(tmp_path)
        assert (folder / "usage.sqlite").exists()
        await running.stop()
    assert files(tmp_path) == []


async def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    """An export is UNAVAILABLE, so its Envoy sends it again; its status says why, and it recovers."""
    async with collector(state_dir=tmp_path) as running:
        await running.export(line(1))
        unlimited = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
        size = max(file.stat().st_size for file in files(tmp_path))
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (size, unlimited[1]))
        many = [line(number, principal="p" * 500 + str(number)) for number in range(500)]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running.export(*many)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "disk" in (await running.ops.get("/status")).json()["failure"]
        assert (await running.totals())["requests"] == 1
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, unlimited)
        await running.export(*many)
        assert (await running.ops.get("/status")).json()["failure"] is None
        assert (await running.totals())["requests"] == 500


async def test_files_are_its_owners(running: Collector, tmp_path: Path) -> None:
    """Names of callers are in them."""
    await running.export(line(1))
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in files(tmp_path / "state")}
    assert set(modes.values()) == {"0o600"}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """It ends at once, and says which."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for given, purpose in (
            ({"port": port, "ops_port": 0}, "logs"),
            ({"port": 0, "ops_port": port}, "operations"),
        ):
            settings = Settings.model_validate({**given, "state_dir": tmp_path})
            with pytest.raises(CannotListenError, match=f"{port} .collector, {purpose}"):
                await serve(settings, asyncio.Event())


async def test_a_folder_of_no_use(tmp_path: Path) -> None:
    """It ends at once, and says why."""
    (tmp_path / "file").write_text("")
    settings = Settings(port=0, ops_port=0, state_dir=tmp_path / "file")
    with pytest.raises(CannotOpenError, match="cannot hold the ledger"):
        await serve(settings, asyncio.Event())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"port": 70000}, "port"),
        ({"retention_days": 0}, "retention_days"),
        ({"reports_url": "ftp://x"}, "must be an absolute http:// or https:// URL"),
        ({"reports_url": "https://user:SECRET@x/"}, "must have no user and no fragment"),
        ({"otlp_endpoint": "localhost:4318"}, "must be an absolute"),
        ({"otlp_endpoint": "http://x:SECRET"}, "must be an absolute"),
        ({"reports_batch": 0}, "reports_batch"),
        ({"reports_interval_seconds": 0}, "reports_interval_seconds"),
        ({"outbox_rows": 0}, "outbox_rows"),
        ({"colour": 1}, "colour"),
    ],
    ids=json.dumps,
)
def test_wrong_settings(given: dict[str, object], text: str) -> None:
    """They fail by name, and quote no secret."""
    with pytest.raises(ValidationError, match=text) as refused:
        Settings.model_validate(given)
    assert "SECRET" not in str(refused.value)
