"""Many clients that send a byte a second: the others are not kept waiting, and Envoy's memory is bounded."""

import http.client
import itertools
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import httpx
import pytest

from tests.real_envoy.running import Running, chat, eventually, resident

SLOW = 2000
BYTES_HELD_FOR_EACH = 64 * 1024
GOOD = 4
REQUESTS = 150
SECONDS = 4
TRIES = 3
"""A delay by slow clients is there each time; one by what else runs on this machine is not."""


class SlowClients:
    """Connections of which each sends a byte a second: a third their headers, a third a body, a third a body in chunks.

    All are let in, so what comes after the headers is held by the filters that wait for the whole body.
    """

    def __init__(self, gateway: Running) -> None:
        self._port = gateway.port
        headers = [f"{name}: {value}" for name, value in gateway.headers("by-header").items()]
        line = "POST /v1/chat/completions HTTP/1.1"
        head = "\r\n".join([line, *headers, "X-Model-Name: demo/small"]).encode()
        chunks = b"1\r\n \r\n" * 1000
        self._begun = (
            (b"", head),
            (head + b"\r\nContent-Length: 1000\r\n\r\n", b" " * 1000),
            (head + b"\r\nTransfer-Encoding: chunked\r\n\r\n", chunks),
        )
        self._open: list[tuple[socket.socket, Iterator[bytes]]] = []
        self._over = threading.Event()
        self._sender = threading.Thread(target=self._send)

    def __enter__(self) -> Self:
        for number in range(SLOW):
            at_once, slowly = self._begun[number % len(self._begun)]
            connection = socket.create_connection(("127.0.0.1", self._port), timeout=10)
            connection.sendall(at_once)
            self._open.append((connection, _one_by_one(slowly)))
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sender.join()
        for connection, _bytes in self._open:
            connection.close()

    def _send(self) -> None:
        """Go round once a second, in a hundred steps."""
        turn, due = 0, time.monotonic()
        while not self._over.wait(max(0, due - time.monotonic())):
            for connection, slowly in self._open[turn::100]:
                connection.sendall(next(slowly))
            turn, due = (turn + 1) % 100, due + 0.01


def _one_by_one(data: bytes) -> Iterator[bytes]:
    return (data[n : n + 1] for n in range(len(data)))


def asked(gateway: Running) -> list[float]:
    """Ask one request after the other over one connection; give the seconds that each took."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    headers = gateway.headers("chat", **{"Content-Type": "application/json"})
    body, took = json.dumps(chat()), []
    for _ in range(REQUESTS):
        began = time.monotonic()
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        took.append(time.monotonic() - began)
    return took


def percentile(gateway: Running) -> float:
    """Give the 99th percentile of several good clients, the best of some rounds, as other programs run here."""
    found: list[float] = []
    end = time.monotonic() + SECONDS
    with ThreadPoolExecutor(GOOD) as clients:
        while not found or time.monotonic() < end:
            took = sorted(itertools.chain.from_iterable(clients.map(asked, [gateway] * GOOD)))
            found.append(took[len(took) * 99 // 100])
    return min(found)


def connected(gateway: Running) -> int:
    """Give how many clients are connected to Envoy."""
    stats = httpx.get(f"{gateway.ready['envoyAdmin']}/stats?filter=^http.ingress.downstream_cx_active$").text
    return int(stats.split(":")[1])


@pytest.fixture
def _many_files() -> Iterator[None]:
    """Let this process have a connection for each slow client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(SLOW + 1000, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.alone
@pytest.mark.usefixtures("_many_files")
def test_slow_clients_delay_nobody(gateway: Running) -> None:
    """While 2,000 are connected, good clients wait at most twice as long; Envoy holds a bounded amount for each."""
    ratios: list[float] = []
    while not ratios or (min(ratios) > 2 and len(ratios) < TRIES):
        before, size = percentile(gateway), resident(gateway.pids["envoy"])
        with SlowClients(gateway):
            eventually(lambda: connected(gateway) >= SLOW)  # Envoy takes them in its own time
            ratios.append(percentile(gateway) / before)
            assert resident(gateway.pids["envoy"]) - size < SLOW * BYTES_HELD_FOR_EACH
        eventually(lambda: connected(gateway) < SLOW / 10)
    assert min(ratios) <= 2, ratios
