"""`igw proxies`: the control plane's status as people read it, Envoy's text included."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from igw_cli.client import Exit
from igw_cli.proxies import table
from igw_xds.fleet import Ack, Fleet, Nack, Proxy
from igw_xds.snapshot import CLUSTER, ROUTES
from rich.console import Console

from tests.unit.cli.program import run
from tests.unit.xds_stream.test_fleet import Connected

NOW = 1_000_000.0


def status() -> dict[str, Any]:
    """Give the status of two proxies, one of which refuses something."""
    fleet = Fleet()
    good = Proxy(
        "good", "US-EAST-04A", "1.40.0", NOW - 7200, "delta", synced=True, last_ack=Ack(ROUTES, NOW - 3)
    )
    nack = Nack(CLUSTER, ("deployment/1",), "no\nsuch\x1b[2J cluster", NOW - 90)
    bad = Proxy(
        "bad", "US-EAST-04A", "1.40.0", NOW - 60, "delta", rejections={CLUSTER: nack.text}, last_nack=nack
    )
    fleet.put(1, Connected(good))
    fleet.put(2, Connected(bad))
    return fleet.status()


def test_the_table() -> None:
    """Who is in trouble comes first, with Envoy's words on one line and without what controls a terminal."""
    out = io.StringIO()
    Console(file=out, width=300).print(table(status()["proxies"], datetime.fromtimestamp(NOW, UTC)))
    lines = [line.split() for line in out.getvalue().splitlines()[1:]]
    assert [" ".join(words) for words in lines] == [
        "bad US-EAST-04A 1.40.0 1m ago refuses cds deployment/1 1m ago: no such\ufffd[2J cluster",
        "good US-EAST-04A 1.40.0 2h ago synced rds 3s ago",
    ]


@pytest.fixture
def control_plane() -> Iterator[str]:
    """Give the URL of a server that answers with that status."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(status()).encode()
            self.send_response(200 if self.path == "/status" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_command(control_plane: str) -> None:
    """A table, or the status as it is; the URL is an option or in the environment."""
    shown = run("proxies", IGW_CONTROL_PLANE=control_plane, IGW_CONFIG="")
    assert (shown.status, shown.lines[-1]) == (0, "1 of 2 have the newest configuration.")
    as_json = run("proxies", "-o", "json", "--control-plane", control_plane, IGW_CONFIG="")
    assert json.loads(as_json.out) == status()


def test_no_control_plane() -> None:
    """The exit status says that it is not to be had."""
    done = run("proxies", "--control-plane", "http://127.0.0.1:1", IGW_CONFIG="")
    assert (done.status, done.out) == (Exit.UNAVAILABLE, "")
