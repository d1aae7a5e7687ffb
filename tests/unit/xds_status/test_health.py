"""Replicas are asked as Envoy asks them, and counted."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from igw_model.deployment import DnsBackend, HealthCheck, StaticBackend
from igw_xds import health as asking
from igw_xds.health import Health
from igw_xds.observation import Replicas
from igw_xds.plan import Containers, Location, Registered
from igw_xds.settings import HostPort

from tests.builders import deployment, static

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Server:
    """A replica that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.reply = GOOD
        self.seen: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.reply)
        if self.reply:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Give a replica that is ready."""
    server = Server()
    listening = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@asynccontextmanager
async def asked(*backends: Location) -> AsyncIterator[tuple[Health, list[str]]]:
    """Ask the replicas of backends, deployments "0", "1", …; give also which of them changed."""
    heard: list[str] = []
    health = Health(heard.append)
    for number, backend in enumerate(backends):
        health.follow(str(number), backend)
    running = asyncio.create_task(health.run())
    yield health, heard
    running.cancel()


async def until(health: Health, expected: Replicas, key: str = "0") -> None:
    """Wait until a deployment's replicas are so."""
    async with asyncio.timeout(5):
        while health.of(key) != expected:  # noqa: ASYNC110 - nothing tells a test when a replica was asked
            await asyncio.sleep(0.01)


def at(*ports: int, **fields: Any) -> StaticBackend:
    """Give a backend of replicas on this machine."""
    backend = deployment(staticBackend={**static(*ports), **fields}).backend
    assert isinstance(backend, StaticBackend)
    return backend


def containers(*ports: int, path: str = "/health") -> Containers:
    """Give containers on this machine."""
    return Containers(tuple(HostPort("127.0.0.1", port) for port in sorted(ports)), HealthCheck(path=path))


def unused_port() -> int:
    """Give a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


async def test_replicas_are_counted(server: Server) -> None:
    """One that answers 200 is ready, one that cannot be connected to is not."""
    async with asked(at(server.port, unused_port())) as (health, heard):
        assert health.of("0") == Replicas(0, 2, asked=False)
        await until(health, Replicas(1, 2))
        assert heard == ["0"]


async def test_a_replica_is_asked_for_its_path_under_a_legal_host(server: Server) -> None:
    """As Envoy asks: GET, the health check's path, and a host name."""
    async with asked(at(server.port, healthCheck={"path": "/ready?deep=1"})) as (health, _):
        await until(health, Replicas(1, 1))
    line, host, *_ = server.seen[0].split(b"\r\n")
    assert (line, host) == (b"GET /ready?deep=1 HTTP/1.1", b"Host: health-check.inference-gateway")


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n",
        b"hello\r\n",
        b"x" * 5000,
        b"\x00\xff\r\n",
        b"",
    ],
    ids=["503", "204", "redirect", "no-http", "no-line", "bytes", "silence"],
)
async def test_only_200_is_ready(server: Server, reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else a replica answers, or that it says nothing in time, it is not ready."""
    monkeypatch.setattr(asking, "TIMEOUT_SECONDS", 0.2)
    server.reply = reply
    async with asked(at(server.port)) as (health, _):
        await until(health, Replicas(0, 1))


async def test_one_bad_answer_is_forgiven(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two in a row take a replica away, one good answer brings it back: as Envoy counts."""
    monkeypatch.setattr(asking, "ROUND_SECONDS", 0.02)
    async with asked(at(server.port)) as (health, heard):
        await until(health, Replicas(1, 1))
        server.reply = b"HTTP/1.1 500 Bad\r\n\r\n"
        await until(health, Replicas(0, 1))
        first_bad = len(server.seen)
        server.reply = GOOD
        await until(health, Replicas(1, 1))
        assert first_bad >= 3
        assert heard == ["0"] * 3


async def test_a_name_is_resolved(server: Server) -> None:
    """Every address is a replica; a name that leads nowhere is one that is not ready."""
    local = DnsBackend(kind="dnsBackend", hostname="localhost", port=server.port)
    nowhere = DnsBackend(kind="dnsBackend", hostname="nowhere.invalid", port=80)
    async with asked(local, nowhere) as (health, _):
        await until(health, Replicas(1, 1))
        await until(health, Replicas(0, 1), "1")
    assert b"Host: localhost\r\n" in server.seen[0]


async def test_who_is_gone_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment that went, or moved, is forgotten; the new backend is asked at once."""
    monkeypatch.setattr(asking, "ROUND_SECONDS", 0.05)
    async with asked(at(server.port)) as (health, _):
        await until(health, Replicas(1, 1))
        health.follow("0", at(unused_port()))
        await until(health, Replicas(0, 1))
        health.follow("0", None)
        assert health.of("0") is None
        asked_before = len(server.seen)
        await asyncio.sleep(0.15)
        assert len(server.seen) == asked_before


async def test_a_container_that_stays_is_as_ready_as_it_was(server: Server) -> None:
    """Others come and go beside it: it is counted without being asked anew, and who came once it has answered."""
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    unanswered = silent.sockets[0].getsockname()[1]
    async with silent, asked(containers(server.port)) as (health, heard):
        assert health.of("0") == Replicas(0, 1, asked=False)
        await until(health, Replicas(1, 1))
        health.follow("0", containers(server.port, unanswered))
        assert health.of("0") == Replicas(1, 2)
        health.follow("0", containers(server.port))
        assert health.of("0") == Replicas(1, 1)
        assert heard == ["0"]
        health.follow("0", containers(server.port, path="/other"))
        assert health.of("0") == Replicas(0, 1, asked=False)
        await until(health, Replicas(1, 1))
        health.follow("0", containers(unanswered))
        assert health.of("0") == Replicas(0, 1, asked=False)
        health.follow("0", containers())
        assert health.of("0") == Replicas(0, 0)
    assert server.seen[-1].startswith(b"GET /other HTTP/1.1\r\nHost: health-check.inference-gateway\r\n")


async def test_a_new_container_is_asked_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for the round of those that are known."""
    monkeypatch.setattr(asking, "ROUND_SECONDS", 60)
    async with asked(containers()) as (health, heard):
        assert health.of("0") == Replicas(0, 0)
        await asyncio.sleep(0.05)
        assert heard == []
        health.follow("0", containers(server.port))
        await until(health, Replicas(1, 1))
        gone = unused_port()
        health.follow("0", containers(server.port, gone))
        await until(health, Replicas(1, 2))
        health.follow("0", containers(gone))
        await until(health, Replicas(0, 1))


async def test_another_that_always_changes_takes_nobodys_turn(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes faster than its replicas can be asked at that pace, and the one beside it is asked all the same."""
    monkeypatch.setattr(asking, "ROUND_SECONDS", 0.02)
    ports = [unused_port() for _ in range(5)]
    async with asked(at(server.port), at(*ports)) as (health, _), asyncio.timeout(5):
        while len(server.seen) < 5:
            ports.reverse()
            health.follow("1", at(*ports))
            await asyncio.sleep(0.01)


async def test_who_registered_is_not_asked(server: Server) -> None:
    """They say themselves that they are there; a deployment that had a backend is forgotten."""
    async with asked(Registered((HostPort("127.0.0.1", server.port),)), at(server.port)) as (health, _):
        await until(health, Replicas(1, 1), "1")
        assert health.of("0") is None
        health.follow("1", Registered())
        assert health.of("1") is None
    assert len(server.seen) == 1


async def test_no_more_are_asked_than_the_limit(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many replicas a round takes longer: so many questions a second, and no more."""
    monkeypatch.setattr(asking, "MAX_PER_SECOND", 50)
    monkeypatch.setattr(asking, "ROUND_SECONDS", 0.0)
    began = time.monotonic()
    async with asked(*[at(server.port)] * 20):
        await asyncio.sleep(0.5)
        async with asyncio.timeout(10):
            while len(server.seen) < 10:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.01)
        assert len(server.seen) <= 50 * (time.monotonic() - began) + 5
