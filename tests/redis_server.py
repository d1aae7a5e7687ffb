"""A real Redis on loopback that a test may kill, start again, and stop for a while."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port

START_SECONDS = 10


class RedisServer:
    """A server with an empty memory; nothing of it is kept on disk, so one started again is empty."""

    def __init__(self, port: int, folder: Path) -> None:
        self._port = port
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Give its address, the same after `kill` and `start`."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        address = ["--bind", "127.0.0.1", "--port", str(self._port)]
        memory = ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", *address, *memory], stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "redis.log").read_text()
            assert time.monotonic() < until, "Redis does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does; connections break and all that it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis on a free port while the context is open; `folder` takes its log.

    Without the program a test is skipped; in CI (tests/prepare installs it) it fails.
    """
    if shutil.which("redis-server") is None and not os.environ.get("CI"):
        pytest.skip("no redis-server (tests/prepare installs it)")
    server = RedisServer(free_port(), folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
