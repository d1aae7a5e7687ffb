"""Bodies of 64 MiB, by setting, on both engines: they arrive whole, and memory does not grow with their number."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from tests.real_envoy.body_cases import ECHO, MIB
from tests.real_envoy.echo_server import echo_server
from tests.real_envoy.running import Running, allocated, eventually, igw_up, resident
from tests.real_envoy.test_body_routing import CHAT, DEPLOYMENT

LARGEST = 64 * MIB
AT_ONCE = 4
COPIES = 4
"""How often a body may be in Envoy while it is read: as it came, as extproc is sent it, and what is between."""


@dataclass(frozen=True)
class Large:
    """A gateway for large bodies."""

    gateway: Running

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
        yield Large(gateway)


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
    """Four at once, six times: then nothing is held of any, and Envoy never kept more than four need."""
    body = _body(LARGEST)
    pids = large.gateway.pids
    envoy, extproc = allocated(large.gateway), resident(pids["extproc"])
    for _ in range(6):
        with ThreadPoolExecutor(AT_ONCE) as senders:
            answers = senders.map(large.send, [body] * AT_ONCE)
            assert [answer.status_code for answer in answers] == [200] * AT_ONCE
        assert resident(pids["envoy"]) < AT_ONCE * COPIES * LARGEST
    eventually(lambda: allocated(large.gateway) < envoy + LARGEST / 2)
    assert resident(pids["extproc"]) < extproc + LARGEST / 2
