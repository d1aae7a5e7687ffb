"""A real collector, a process of its own that a test may kill, and an Envoy's client of it."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from tests.unit.usage.lines import METHOD, Line, request

PROCESS = """
import sys
from igw_ops import logs, process
from igw_usage.service import serve
from igw_usage.settings import Settings
logs.configure("collector", "debug")
settings = Settings.model_validate_json(sys.argv[1])
process.run(lambda stop: serve(settings, stop))
"""
ALL_TIMES = {"from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


@dataclass
class Collector:
    """One that runs."""

    process: asyncio.subprocess.Process
    port: int
    ops: httpx.AsyncClient
    channel: grpc.aio.Channel
    log: str

    async def export(self, *lines: Line) -> Any:
        """Tell it of requests, as Envoy does, and wait for the answer."""
        return await self.send(request(*lines).SerializeToString())

    async def send(self, message: bytes) -> Any:
        """Send an export as bytes."""
        call = self.channel.unary_unary(
            METHOD,
            request_serializer=bytes,
            response_deserializer=logs_service_pb2.ExportLogsServiceResponse.FromString,
        )
        return await call(message, timeout=20)

    async def totals(self) -> dict[str, Any]:
        """Ask what was counted."""
        found: dict[str, Any] = (await self.ops.get("/usage", params=ALL_TIMES)).json()["totals"]
        return found

    async def all_reported(self) -> bool:
        """Ask whether no record waits to be reported."""
        return bool((await self.ops.get("/status")).json()["outbox"]["waiting"] == 0)

    async def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> str:
        """Ask it to end; give all that it logged."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        self.log += (await self.process.stdout.read()).decode()
        assert await self.process.wait() == 0, self.log
        return self.log


@asynccontextmanager
async def collector(**settings: Any) -> AsyncIterator[Collector]:
    """Run a collector on free ports, which keeps what is years old; it is killed at the end if it still runs."""
    given = json.dumps({"port": 0, "ops_port": 0, "retention_days": 3660} | settings, default=str)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    log = ""
    try:
        while '"serving"' not in log:
            line = (await process.stdout.readline()).decode()
            log += line
            assert line, f"it ended: {log}"
        ports = json.loads(log.splitlines()[-1])
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['ops_port']}", timeout=20) as ops,
            grpc.aio.insecure_channel(f"127.0.0.1:{ports['port']}") as channel,
        ):
            yield Collector(process, ports["port"], ops, channel, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
