"""`igw envoy` around the real Envoy: what it shows to others, how it drains, and that it leaves nothing behind."""

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hpack import Encoder
from igw_ops.http2 import frames

from tests.ports import free_ports
from tests.real_envoy.launched import Launched, gone, launched
from tests.real_envoy.running import Running, chat, eventually

CLIENTS = 8


@pytest.fixture
def envoy(gateway: Running, tmp_path: Path) -> Iterator[Launched]:
    """An Envoy that serves the demo."""
    with launched(gateway, tmp_path / "one") as made:
        made.start("--drain-seconds", "5")
        yield made


def post(gateway: Running, connection: http.client.HTTPConnection, **more: Any) -> http.client.HTTPResponse:
    """Send a chat completion, and read the answer's headers."""
    headers = gateway.headers("chat", **{"Content-Type": "application/json"})
    connection.request("POST", "/v1/chat/completions", json.dumps(chat(**more)), headers)
    return connection.getresponse()


def stream(gateway: Running, envoy: Launched, chunks: int) -> http.client.HTTPResponse:
    """Begin a stream of chunks, a quarter of a second apart."""
    wishes = {"x-demo-chunks": chunks, "x-demo-chunk-ms": 250}
    return post(gateway, envoy.connection(), stream=True, **wishes)


@dataclass
class Count:
    """What the clients saw: good answers by port, and what went wrong in words."""

    served: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Balancer:
    """Clients' way to Envoys, as any load balancer's: to the next in turn of those whose ``/ready`` is 200."""

    def __init__(self, envoys: Sequence[Launched]) -> None:
        self._envoys = envoys
        self._turns = itertools.cycle(envoys)
        self._ready = {envoy.port for envoy in envoys}

    def port(self) -> int:
        """Give whose turn it is."""
        ready = self._ready or {envoy.port for envoy in self._envoys}
        return next(envoy.port for envoy in self._turns if envoy.port in ready)

    async def look(self) -> None:
        """Ask who is ready, again and again."""
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                for envoy in self._envoys:
                    ready = False
                    with contextlib.suppress(httpx.HTTPError):
                        answer = await client.get(f"http://127.0.0.1:{envoy.stats}/ready")
                        ready = answer.status_code == 200
                    (self._ready.add if ready else self._ready.discard)(envoy.port)
                await asyncio.sleep(0.1)


async def ask(gateway: Running, choose: Callable[[], int], count: Count, stopped: asyncio.Event) -> None:
    """Send requests, each to the port that is chosen, over connections that are kept."""
    headers = gateway.headers("chat")
    async with httpx.AsyncClient(timeout=30) as client:
        while not stopped.is_set():
            port = choose()
            try:
                url = f"http://127.0.0.1:{port}/v1/chat/completions"
                answer = await client.post(url, json=chat(), headers=headers)
            except httpx.HTTPError as error:
                count.failures.append(repr(error))
            else:
                count.served[port] += 1
                if answer.status_code != 200:
                    count.failures.append(f"{answer.status_code} {answer.text[:200]}")


async def test_an_envoy_is_replaced_while_requests_flow(gateway: Running, tmp_path: Path) -> None:
    """One of two is ended and started again, twice, behind what looks at ``/ready``, and no request fails."""
    with launched(gateway, tmp_path / "one") as one, launched(gateway, tmp_path / "two") as two:
        one.start("--drain-seconds", "6")
        two.start("--drain-seconds", "6")
        count, stopped, balancer = Count(), asyncio.Event(), Balancer((one, two))
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(balancer.look())
            for _ in range(CLIENTS):
                tasks.create_task(ask(gateway, balancer.port, count, stopped))
            try:
                await asyncio.sleep(1)
                for _ in range(2):
                    one.signal()
                    await asyncio.to_thread(one.ended)
                    assert one.running().returncode == 0, one.log()
                    before = count.served[one.port]
                    await asyncio.to_thread(one.start, "--drain-seconds", "6")
                    await asyncio.sleep(1)
                    assert count.served[one.port] > before
            finally:
                stopped.set()
                looking.cancel()
    assert count.failures == []
    assert min(count.served.values()) > 10


def test_an_idle_envoy_ends_at_once_and_says_no_meanwhile(gateway: Running, tmp_path: Path) -> None:
    """Kept connections and those of probes don't hold it up; ``/ready`` is 503, then refused; the status is 0."""
    with launched(gateway, tmp_path / "one") as envoy:
        envoy.start()
        kept = envoy.connection()
        assert post(gateway, kept).read()
        began = time.monotonic()
        envoy.signal(signal.SIGINT)
        seen = []
        while envoy.running().poll() is None:
            seen.append(envoy.ready())
            time.sleep(0.02)
        assert time.monotonic() - began < 6  # 1.5 s on an idle machine; --drain-seconds is 30
        assert [status for status, _ in itertools.groupby(seen)][-2:] == [503, None]
        assert set(seen) <= {200, 503, None}
        assert envoy.running().returncode == 0, envoy.log()
        assert '"cut_requests": 0' in envoy.log()


def test_clients_are_asked_to_go_and_new_ones_are_served_first(gateway: Running, envoy: Launched) -> None:
    """``Connection: close`` on kept and on new connections, GOAWAY over HTTP/2; then no connection more."""
    kept, streaming = envoy.connection(), stream(gateway, envoy, 16)
    first = post(gateway, kept)
    assert (first.getheader("connection"), bool(first.read())) == (None, True)
    with http2(envoy, gateway) as client:
        assert client.asked() == [HEADERS]
        envoy.signal()
        # Asked over new connections, for an Envoy that nobody asks for a second is gone.
        eventually(lambda: asked_to_go(gateway, envoy.connection()))
        assert envoy.ready() == 503
        assert asked_to_go(gateway, kept)
        assert client.asked() == [GOAWAY, HEADERS]
    eventually(lambda: refused(envoy.port))
    assert streaming.read().endswith(b"data: [DONE]\n\n")
    envoy.ended()


def asked_to_go(gateway: Running, connection: http.client.HTTPConnection) -> bool:
    """Ask over a connection, which is to serve; tell whether it may be kept no longer."""
    answer = post(gateway, connection)
    assert (answer.status, bool(answer.read())) == (200, True)
    return answer.getheader("connection") == "close"


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stream_under_way_ends_whole(gateway: Running, envoy: Launched) -> None:
    """It lasts longer than an idle Envoy would; the Envoy ends once it is through."""
    answer = stream(gateway, envoy, 12)
    envoy.signal()
    assert answer.read().endswith(b"data: [DONE]\n\n")
    assert envoy.ended() < 3
    assert (envoy.running().returncode, '"cut_requests": 0' in envoy.log()) == (0, True)


def test_a_stream_longer_than_the_drain_is_cut(gateway: Running, envoy: Launched) -> None:
    """After --drain-seconds, and it is told how many were."""
    answer = stream(gateway, envoy, 60)
    began = time.monotonic()
    envoy.signal()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    assert 4.9 < time.monotonic() - began < 9
    envoy.ended()
    assert (envoy.running().returncode, '"cut_requests": 1' in envoy.log()) == (0, True)


def test_an_admin_interface_that_is_slow_is_asked_again(gateway: Running, tmp_path: Path) -> None:
    """Its thread takes in much configuration, say: that is no reason to cut what is under way."""
    with launched(gateway, tmp_path / "one") as envoy:
        envoy.start("--drain-seconds", "20")
        answer, pid = stream(gateway, envoy, 4), envoy.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            envoy.signal()
            eventually(lambda: "does not answer yet" in envoy.log() or envoy.running().poll() is not None)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert answer.read().endswith(b"data: [DONE]\n\n")
        envoy.ended()
        assert (envoy.running().returncode, '"cut_requests": 0' in envoy.log()) == (0, True)


def test_a_second_signal_ends_it_at_once(gateway: Running, envoy: Launched) -> None:
    """Whatever is under way."""
    answer = stream(gateway, envoy, 60)
    envoy.signal(signal.SIGINT)
    eventually(lambda: envoy.ready() == 503)
    pid = envoy.pid()
    envoy.signal(signal.SIGINT)
    assert envoy.ended() < 3
    assert gone(pid)
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_a_killed_launcher_leaves_no_envoy(envoy: Launched) -> None:
    """The kernel ends the Envoy with it."""
    pid = envoy.pid()
    envoy.signal(signal.SIGKILL)
    envoy.ended()
    eventually(lambda: gone(pid))


def test_an_envoy_that_dies_is_told(gateway: Running, tmp_path: Path) -> None:
    """The launcher's status is never 0 then, nor is the bootstrap left in the temporary folder, which TMPDIR names."""
    with launched(gateway, tmp_path / "one") as envoy:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        envoy.start(environment={"TMPDIR": str(scratch)})
        [folder] = scratch.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        httpx.post(f"http://127.0.0.1:{envoy.admin}/quitquitquit")
        envoy.ended()
        assert envoy.running().returncode == 1
        assert '"envoy ended by itself"' in envoy.log()
        envoy.start(environment={"TMPDIR": str(scratch)})
        os.kill(envoy.pid(), signal.SIGKILL)
        envoy.ended()
        assert envoy.running().returncode == 128 + signal.SIGKILL
        assert list(scratch.iterdir()) == []


def test_without_a_control_plane_it_is_not_ready_and_ends(gateway: Running, tmp_path: Path) -> None:
    """It waits for its configuration; asked to end, it ends."""
    with launched(gateway, tmp_path / "one") as envoy:
        [envoy.xds] = free_ports(1)
        envoy.start(wait=False)
        eventually(lambda: admin_says(envoy) == "PRE_INITIALIZING", 60)
        assert envoy.ready() is None
        envoy.signal()
        assert envoy.ended() < 6
        assert envoy.running().returncode == 0, envoy.log()


def admin_says(envoy: Launched) -> str:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{envoy.admin}/ready").text.strip()
    return ""


@pytest.fixture(scope="module")
def shown(gateway: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """An Envoy that is only looked at."""
    with launched(gateway, tmp_path_factory.mktemp("shown") / "one") as made:
        made.start()
        yield made


def said(port: int, request: bytes) -> bytes:
    """Send bytes to the stats listener, and give what it answers until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /ready HTTP/1.1", 200),
        ("GET http://gateway.example/ready HTTP/1.1", 200),
        ("GET /metrics HTTP/1.1", 200),
        ("GET /metrics?filter=.* HTTP/1.1", 404),
        ("GET /metrics? HTTP/1.1", 404),
        ("GET /metrics/ HTTP/1.1", 404),
        ("GET /metrics%3Fformat=json HTTP/1.1", 404),
        ("GET /metrics#x HTTP/1.1", 400),
        ("GET /READY HTTP/1.1", 404),
        ("HEAD /ready HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1", 404),
        ("POST /quitquitquit HTTP/1.1", 404),
        ("POST /healthcheck/fail HTTP/1.1", 404),
        ("POST /drain_listeners HTTP/1.1", 404),
        ("GET / HTTP/1.1", 404),
        ("GET /config_dump HTTP/1.1", 404),
        ("GET /stats/prometheus HTTP/1.1", 404),
        ("POST //quitquitquit HTTP/1.1", 404),
        ("POST /metrics/../quitquitquit HTTP/1.1", 404),
        ("GET /metrics/..%2fconfig_dump HTTP/1.1", 404),
        ("GET /metrics/%2e%2e/config_dump HTTP/1.1", 404),
        ("GET /ready\\..\\config_dump HTTP/1.1", 404),
        ("POST /%71uitquitquit HTTP/1.1", 404),
        ("POST http://127.0.0.1/quitquitquit HTTP/1.1", 404),
        ("GET http://127.0.0.1//config_dump HTTP/1.1", 404),
        ("OPTIONS * HTTP/1.1", 404),
        ("CONNECT 127.0.0.1:80 HTTP/1.1", 404),
        ("PRI * HTTP/2.0", 400),
    ],
)
def test_nothing_else_is_shown(shown: Launched, line: str, status: int) -> None:
    """Two request lines reach the admin interface, and no spelling of any other does."""
    answer = said(shown.stats, f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert int(answer.split()[1]) == status
    assert shown.running().poll() is None
    assert shown.ready() == 200


def test_headers_change_nothing(shown: Launched) -> None:
    """Neither what other proxies rewrite by, nor a second request behind the first, nor a body."""
    names = (
        "x-original-url",
        "x-rewrite-url",
        "x-envoy-original-path",
        "x-http-method-override",
        "x-forwarded-prefix",
    )
    lines = "".join(f"{name}: /config_dump\r\n" for name in names)
    body = "POST /quitquitquit HTTP/1.1\r\nHost: x\r\n\r\n"
    length = f"Content-Length: {len(body)}\r\nConnection: close"
    answer = said(shown.stats, f"GET /ready HTTP/1.1\r\nHost: x\r\n{lines}{length}\r\n\r\n{body}".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"LIVE" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert shown.running().poll() is None


def test_metrics_are_those_that_are_used(gateway: Running, shown: Launched) -> None:
    """In the Prometheus text format, those of clients among them; what no request has touched is left out."""
    assert post(gateway, shown.connection()).read()
    text = httpx.get(f"http://127.0.0.1:{shown.stats}/metrics").text
    everything = httpx.get(f"http://127.0.0.1:{shown.admin}/stats/prometheus").text
    assert (
        'envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="ingress"}'
        in text
    )
    assert 'envoy_http_conn_manager_prefix="igw_stats"' in text
    assert len(text.splitlines()) < len(everything.splitlines()) / 2


def test_the_stats_listener_is_bounded(shown: Launched) -> None:
    """A hundred connections; a request's headers must come within seconds. Clients' listener goes on meanwhile."""
    with contextlib.ExitStack() as held:
        address = ("127.0.0.1", shown.stats)
        held_open = []
        for _ in range(130):
            held_open.append(held.enter_context(socket.create_connection(address, timeout=20)))
            # Of connections at one moment two workers of Envoy's may each take the last: these come one by one.
            time.sleep(0.005)
        for connection in held_open:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /ready HTTP/1.1\r\n")
        answers = [answer(connection) for connection in held_open]
    assert len([text for text in answers if text.startswith(b"HTTP/1.1 408 ")]) == 100
    assert answers.count(b"") == 30


def answer(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""


HEADERS, GOAWAY = frames.HEADERS, frames.GOAWAY


class Http2Client:
    """One connection of HTTP/2, whose requests follow one another."""

    def __init__(self, connection: socket.socket, headers: dict[str, str]) -> None:
        self._connection = connection
        self._headers = headers
        self._streams = itertools.count(1, 2)
        self._left = b""
        connection.sendall(frames.PREFACE + frames.settings({}))

    def asked(self) -> list[int]:
        """Ask for the list of models; give the types of the frames with the answer, each once, as they came."""
        fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/v1/models"),
            (":authority", self._headers["Host"]),
        ]
        fields += [("authorization", self._headers["Authorization"])]
        number = next(self._streams)
        self._connection.sendall(
            frames.frame(
                frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, Encoder().encode(fields)
            )
        )
        seen = set()
        while True:
            kind, flags, stream_id = self._frame()
            seen.add(kind)
            if stream_id == number and flags & frames.END_STREAM:
                return sorted(seen & {HEADERS, GOAWAY}, reverse=True)

    def _frame(self) -> tuple[int, int, int]:
        """Read one frame: type, flags, stream. RFC 9113, section 4.1."""
        head = self._read(9)
        self._read(int.from_bytes(head[:3], "big"))
        return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF

    def _read(self, count: int) -> bytes:
        while len(self._left) < count:
            received = self._connection.recv(65536)
            assert received, "the connection was closed"
            self._left += received
        read, self._left = self._left[:count], self._left[count:]
        return read


@contextlib.contextmanager
def http2(envoy: Launched, gateway: Running) -> Iterator[Http2Client]:
    """Open an HTTP/2 connection in clear."""
    with socket.create_connection(("127.0.0.1", envoy.port), timeout=20) as connection:
        yield Http2Client(connection, gateway.headers("chat"))
