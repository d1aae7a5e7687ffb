"""deploy/ready: the health check of both images, against real listeners of this machine."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.engine import ROOT


class Answers(BaseHTTPRequestHandler):
    """200 for /readyz and /ready, 503 for the rest."""

    def do_GET(self) -> None:
        """Answer by path."""
        self.send_response(200 if self.path in {"/readyz", "/ready"} else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    """The port of a server that is ready."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_port)
        server.shutdown()


@pytest.mark.parametrize(("path", "code"), [([], 0), (["/ready"], 0), (["/other"], 1)])
def test_it_tells_200_from_the_rest(port: str, path: list[str], code: int) -> None:
    """200 is ready, 503 is not; the path is /readyz unless named."""
    assert _ready(port, *path) == code


def test_nobody_listening_is_not_ready() -> None:
    """A refused connection is 1, at once."""
    with _listening() as (_, free):
        pass
    assert _ready(free) == 1


def test_silence_is_not_ready() -> None:
    """Who takes the connection and says nothing is given up after two seconds."""
    with _listening() as (_, silent):
        start = time.monotonic()
        assert _ready(silent) == 1
        assert 1.5 < time.monotonic() - start < 10


@pytest.mark.parametrize(
    "variable", ["IGW_XDS_OPS_PORT", "IGW_EXTAUTH_OPS_PORT", "IGW_EXTPROC_OPS_PORT", "IGW_COLLECTOR_OPS_PORT"]
)
def test_without_a_port_any_of_the_operations_ports_will_do(port: str, variable: str) -> None:
    """The variables that move a command's operations port move the check with it."""
    with _listening() as (_, free):
        pass
    nowhere = dict.fromkeys(
        ["IGW_XDS_OPS_PORT", "IGW_EXTAUTH_OPS_PORT", "IGW_EXTPROC_OPS_PORT", "IGW_COLLECTOR_OPS_PORT"], free
    )
    assert _ready(**nowhere) == 1
    assert _ready(**nowhere | {variable: port}) == 0


def _ready(*arguments: str, **environment: str) -> int:
    return subprocess.run(
        [ROOT / "deploy" / "ready", *arguments], env={**os.environ, **environment}, check=False
    ).returncode


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, str(listener.getsockname()[1])
