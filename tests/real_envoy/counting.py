"""Clients that count: each asks one proxy in one way, on and on over one connection, and no failure is lost."""

import contextlib
import http.client
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

LOOPBACK = "127.0.0.1"
PAUSE_SECONDS = 0.01


class Asked(Protocol):
    """A proxy, as clients know it."""

    id: str

    def port(self) -> int:
        """Give the port that it serves clients on."""


@dataclass(frozen=True)
class Way:
    """A request: how to ask a gateway for a model."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def ask(self, port: int) -> int:
        """Ask once at a port; give the status."""
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
        with contextlib.closing(connection):
            return self.over(connection)[0]

    def over(self, connection: http.client.HTTPConnection) -> tuple[int, bytes]:
        """Ask over a connection; give the answer's status and content."""
        connection.request("POST", self.path, self.body, dict(self.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()


@dataclass
class Count:
    """What the clients saw: good answers by proxy, and what went wrong in words."""

    served: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@contextlib.contextmanager
def counted(
    ways: Sequence[Way], proxies: Sequence[Asked], trust: ssl.SSLContext | None = None
) -> Iterator[Count]:
    """Keep a client asking each proxy in each way while the context is open, over TLS where it trusts somebody."""
    count, stop = Count(), threading.Event()
    threads = [
        threading.Thread(target=_ask_on, args=(way, proxy, _connection(proxy, trust), count, stop))
        for way in ways
        for proxy in proxies
    ]
    for thread in threads:
        thread.start()
    try:
        yield count
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _connection(proxy: Asked, trust: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if trust is None:
        return http.client.HTTPConnection(LOOPBACK, proxy.port(), timeout=30)
    return http.client.HTTPSConnection(LOOPBACK, proxy.port(), timeout=30, context=trust)


def _ask_on(
    way: Way, proxy: Asked, connection: http.client.HTTPConnection, count: Count, stop: threading.Event
) -> None:
    with contextlib.closing(connection):
        while not stop.is_set():
            try:
                status, content = way.over(connection)
            except (OSError, http.client.HTTPException) as error:
                count.failures.append(f"{proxy.id} {way.headers['Host']} {error!r}")
                connection.close()
            else:
                count.served[proxy.id] += status == 200
                if status != 200:
                    what = f"{proxy.id} {way.headers['Host']} {way.path} {status} {content[:200]!r}"
                    count.failures.append(f"{time.monotonic():.3f} {what}")
            stop.wait(PAUSE_SECONDS)
