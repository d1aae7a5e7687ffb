"""An Envoy whose heap is nearly full turns new requests away, and comes back by itself."""

import contextlib
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.real_envoy.running import Running, chat, eventually, igw_up
from tests.real_envoy.test_refusals import check

MIB = 1024 * 1024
HEAP_MB = 96
CHAT = "/v1/chat/completions"
HELD = 15 * MIB
"""Of a body that is not whole: less than the gateway takes, so that it waits for the rest."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a demo whose Envoy may take little."""
    with igw_up(tmp_path_factory.mktemp("small"), "--demo", "--max-heap-mb", str(HEAP_MB)) as gateway:
        yield gateway


@contextlib.contextmanager
def bodies_under_way(gateway: Running, number: int) -> Iterator[None]:
    """Send so many bodies but for their ends, and keep them."""
    headers = gateway.headers("by-header", **{"x-model-name": "demo/small", "content-length": str(HELD + 1)})
    lines = [f"POST {CHAT} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    with contextlib.ExitStack() as kept:
        for _ in range(number):
            peer = kept.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30))
            with contextlib.suppress(ConnectionError):  # it is refused already
                peer.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + b" " * HELD)
        yield


def is_turned_away(gateway: Running) -> bool:
    """Tell whether a new client is refused: its request, or its connection already."""
    try:
        return gateway.post("chat", chat()).status_code == 503
    except httpx.TransportError:
        return True


def test_a_full_heap(small: Running) -> None:
    """New requests are 503 in OpenAI's shape while it is full, and are answered once it is not; Envoy lives."""
    with httpx.Client(base_url=small.ready["ingress"], headers=small.headers("chat")) as client:
        assert client.post(CHAT, json=chat()).status_code == 200
        with bodies_under_way(small, HEAP_MB * MIB // HELD + 1):
            eventually(lambda: is_turned_away(small))
            answer = client.post(CHAT, json=chat())
            check(answer, 503, "overloaded")
            assert answer.headers["retry-after"] == "1"
    eventually(lambda: not is_turned_away(small))
    assert small.post("chat", chat()).status_code == 200
