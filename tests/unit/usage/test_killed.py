"""Collectors and receivers that are killed at any moment: what was used is counted once, and reported once."""

import asyncio
import random
from pathlib import Path
from typing import Any, Self

import grpc
import httpx
import pytest
from igw_demo.authority import authority_app
from igw_demo.serving import running as serving

from tests.unit.usage.collector import Collector, collector
from tests.unit.usage.lines import Line, line, read, usage
from tests.unit.usage.scene import sums, until

EXPORTS = 60
LINES = 7


def told() -> list[list[Line]]:
    """Give what Envoy tells, in exports."""
    chance = random.Random(20)  # noqa: S311 - to be the same each time
    return [
        [
            line(
                export * LINES + number,
                reports=chance.choice(["true", "-"]),
                project=chance.choice(["team/a", "team/b"]),
                status=chance.choice(["200", "200", "503"]),
                usage=usage(chance.randrange(1000), chance.randrange(1000), streamed=chance.random() < 0.5),
            )
            for number in range(LINES)
        ]
        for export in range(EXPORTS)
    ]


async def _sent(running: Collector, exports: list[list[Line]]) -> None:
    """Send as an Envoy with a retry policy does: each until it is answered."""
    while exports:
        try:
            await running.export(*exports[0])
        except grpc.aio.AioRpcError:
            return
        exports.pop(0)


async def test_kills_between_and_during_exports(tmp_path: Path) -> None:
    """Exports go on until each is answered, over five kills: the totals are those of each request once."""
    exports = told()
    records = [read(said) for lines in exports for said in lines]
    chance = random.Random(3)  # noqa: S311
    for _ in range(5):
        async with collector(state_dir=tmp_path) as running:
            sending = asyncio.create_task(_sent(running, exports))
            await asyncio.sleep(chance.uniform(0.01, 0.1))
            await running.kill()
            await sending
    async with collector(state_dir=tmp_path) as running:
        await _sent(running, exports)
        assert not exports
        assert await running.totals() == sums(records)
        status = (await running.ops.get("/status")).json()
        assert status["rows"]["seen"] == EXPORTS * LINES


async def test_kills_during_reports(tmp_path: Path) -> None:
    """The collector and the receiver are killed in turns while reports go out: each record is reported once."""
    exports = told()
    records = [read(said) for lines in exports for said in lines]
    expected = [record for record in records if record.reports]
    chance = random.Random(4)  # noqa: S311
    file = tmp_path / "reports.jsonl"
    async with _Receiver(file) as receiver:
        given: dict[str, Any] = {
            "state_dir": tmp_path / "state",
            "reports_url": f"{receiver.url}/reports",
            "reports_batch": 5,
            "reports_interval_seconds": 0.05,
        }
        for turn in range(6):
            async with collector(**given) as running:
                await _sent(running, exports[turn * 10 : turn * 10 + 10])
                await asyncio.sleep(chance.uniform(0, 0.15))
                if turn % 2:
                    await receiver.restart()
                await running.kill()
        async with collector(**given) as running:
            await until(running.all_reported)
            await running.stop()
        taken = await receiver.document()
    assert (taken["records"], taken["repeatedRecords"], taken["refused"]) == (len(expected), 0, 0)
    counted = sums(expected)
    for name in (
        "requests",
        "errors",
        "streamed",
        "partial",
        "promptTokens",
        "completionTokens",
        "totalTokens",
    ):
        assert sum(one[name] for one in taken["totals"]) == counted[name], name


class _Receiver:
    """The demo's W&B side, over a file, on one port."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._port = 0

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._serving.__aexit__(None, None, None)

    async def _start(self) -> None:
        self._serving = serving(authority_app((), None, self._file), port=self._port)
        address = await self._serving.__aenter__()
        self._port, self.url = address.port, address.url

    async def restart(self) -> None:
        """End it, and start it again over its file."""
        await self._serving.__aexit__(None, None, None)
        await self._start()

    async def document(self) -> dict[str, Any]:
        """Ask what was taken."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            found: dict[str, Any] = (await client.get("/demo/reports")).json()
            return found


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_around_the_answer(tmp_path: Path, moment: str) -> None:
    """A report that was taken, and whose sender died before it knew, comes again with the same id and bytes."""
    taken: list[tuple[str, bytes]] = []
    arrived = asyncio.Event()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(one.split(b": ", 1) for one in head.lower().split(b"\r\n")[1:] if b": " in one)
        body = await reader.readexactly(int(fields[b"content-length"]))
        taken.append((fields[b"idempotency-key"].decode(), body))
        if len(taken) > 1 or moment == "after":
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            await writer.drain()
        arrived.set()
        if len(taken) > 1 or moment == "after":
            writer.close()

    async with await asyncio.start_server(receive, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        given: dict[str, Any] = {"state_dir": tmp_path, "reports_url": url, "reports_interval_seconds": 0.01}
        async with collector(**given) as running:
            await running.export(*(line(number, reports="true") for number in range(3)))
            await asyncio.wait_for(arrived.wait(), 10)
            await running.kill()
        async with collector(**given) as running:
            await running.export(line(99, reports="true"))
            await until(running.all_reported)
    assert len(set(taken)) == len({key for key, _ in taken})
    assert (taken[0] == taken[1]) or moment == "after"
    assert b"".join(dict(taken).values()).count(b'"requestId"') == 4
