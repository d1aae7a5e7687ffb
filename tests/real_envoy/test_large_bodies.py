"""Bodies of 64 MiB, by setting, on both engines: they arrive whole, and memory does not grow with their number."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.real_envoy.body_cases import ECHO, MIB
from tests.real_envoy.echo_server import echo_server
from tests.real_envoy.running import Running, eventually, igw_up
from tests.real_envoy.test_body_routing import CHAT, DEPLOYMENT

LARGEST = 64 * MIB


@dataclass(frozen=True)
class Large:
    """A gateway for large bodies, and which of its processes hold them."""

    gateway: Running
    holders: tuple[str, ...]

    def resident(self) -> dict[str, int]:
        """Give the bytes that each of those processes has in memory."""
        pages = {name: Path(f"/proc/{self.gateway.pids[name]}/statm").read_text() for name in self.holders}
        return {name: int(text.split()[1]) * 4096 for name, text in pages.items()}

    def send(self, body: bytes) -> httpx.Response:
        """Send a body to the gateway that reads it."""
        url = f"{self.gateway.ready['ingress']}{CHAT}"
        return httpx.post(url, content=body, headers=self.gateway.headers("chat"), timeout=60)


@pytest.fixture(scope="module", params=["auto", "extproc"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    """Run a demo that takes 64 MiB."""
    folder = tmp_path_factory.mktemp(request.param)
    options = ("--body-routing", request.param, "--max-body-bytes", str(LARGEST))
    with echo_server() as port, igw_up(folder, "--demo", *options) as gateway:
        gateway.edit(lambda text: text + DEPLOYMENT.format(model=ECHO, port=port))
        eventually(lambda: gateway.post("chat", {"model": ECHO}).status_code == 200)
        yield Large(gateway, ("envoy",) if request.param == "auto" else ("envoy", "extproc"))


def _body(length: int) -> bytes:
    """Give a body of this length whose model comes last."""
    head, tail = b'{"messages":["', b'"],"model":"echo"}'
    return head + b"x" * (length - len(head) - len(tail)) + tail


def test_a_body_of_the_largest_size(large: Large) -> None:
    """One byte more is 413."""
    body = _body(LARGEST)
    answer = large.send(body)
    assert answer.headers["x-digest"] == hashlib.sha256(body).hexdigest()
    assert large.send(body + b" ").status_code == 413


def test_memory_does_not_grow_with_their_number(large: Large) -> None:
    """Four at once, again and again: processes hold no more in the end than they held at first."""
    body, sizes = _body(LARGEST), []
    for _ in range(10):
        with ThreadPoolExecutor(4) as senders:
            assert [answer.status_code for answer in senders.map(large.send, [body] * 4)] == [200] * 4
        sizes.append(large.resident())
    for name in large.holders:
        held = [size[name] for size in sizes]
        assert max(held[5:]) < max(held[:5]) + LARGEST, (name, held)
