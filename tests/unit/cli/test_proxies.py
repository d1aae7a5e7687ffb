"""`igw proxies`: the connected proxies as people read them, Envoy's text included."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from igw_cli.client import Exit
from igw_cli.proxies import refusals, table
from igw_xds.distribution import Distributions
from igw_xds.fleet import Ack, Fleet, Nack, Proxy
from igw_xds.inspection import Inspection, shown
from igw_xds.plan import Zoning
from igw_xds.snapshot import CLUSTER, NO_RESOURCES, ROUTES
from igw_xds.stream import DeltaStream
from rich.console import Console
from rich.table import Table

from tests.unit.cli.api_server import ApiServer, api_server
from tests.unit.cli.program import run
from tests.unit.xds_stream.test_fleet import Connected

NOW = 1_000_000.0
NACK = Nack(CLUSTER, ("deployment/1",), "no\nsuch\x1b[2J cluster", NOW - 90)


def connected(name: str, since: float, **fields: Any) -> Connected:
    """Give a connected proxy."""
    return Connected(
        Proxy(name, "US-EAST-04A", "1.40.0", NOW - since, "delta", **fields), DeltaStream(), NO_RESOURCES
    )


GOOD = connected("good", 7200, synced=True, canary=True, last_ack=Ack(ROUTES, NOW - 3))
BAD = connected("bad", 60, rejections={CLUSTER: NACK.text}, last_nack=NACK)
STRAY = connected("stray", 9, stray=True, reason="zone US-EAST-4 is not one of ours")


def printed(printable: Table) -> list[str]:
    """Give a table's lines without its heading, and with one space between words."""
    out = io.StringIO()
    Console(file=out, width=300).print(printable)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()[1:]]


def test_the_table() -> None:
    """A state has its reason; Envoy's words are told once, on one line and without what controls a terminal."""
    rows = [shown(one) for one in (STRAY, BAD, GOOD)]
    assert printed(table(rows, datetime.fromtimestamp(NOW, UTC))) == [
        "stray US-EAST-04A 1.40.0 9s ago stray: zone US-EAST-4 is not one of ours",
        "bad US-EAST-04A 1.40.0 1m ago refuses cds deployment/1 1m ago: no such\ufffd[2J cluster",
        "good US-EAST-04A 1.40.0 2h ago synced canary rds 3s ago",
    ]


def test_what_zones_hold_back() -> None:
    """By zone: what it is, who refused it, when and why."""
    told = {"proxy": "bad", "text": "no\tsuch cluster", "at": "1970-01-12T13:46:35.000Z"}
    zones: list[dict[str, Any]] = [
        {"name": "eu", "refused": []},
        {"name": "us", "refused": [{"type": "rds", "name": "gateway/1", **told}]},
    ]
    assert printed(refusals(zones, datetime.fromtimestamp(NOW, UTC))) == [
        "us rds gateway/1 bad 5s ago no\ufffdsuch cluster"
    ]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """Give an API beside a control plane with two proxies, and a definition file that is broken."""
    fleet = Fleet()
    for number, one in enumerate((GOOD, BAD)):
        fleet.put(number, one)
    zones = Distributions(Zoning())
    with api_server(Inspection(fleet, zones, lambda: ["a.yaml, document 1: zones: is required"])) as server:
        yield server


def test_the_command(api: ApiServer) -> None:
    """A table, those in trouble first, or the API's document as it is; a zone's alone."""
    known = {"IGW_SERVER": api.url, "IGW_TOKEN": api.admin, "IGW_CONFIG": ""}
    found = run("proxies", **known)
    assert (found.status, [line.split()[0] for line in found.lines[1:3]]) == (0, ["bad", "good"])
    assert found.lines[3:] == [
        "1 of 2 have the newest configuration.",
        "definition refused: a.yaml, document 1: zones: is required",
    ]
    assert json.loads(run("proxies", "-o", "json", **known).out) == api.send("GET", "proxies")
    assert json.loads(run("proxies", "-o", "json", "--zone", "eu", **known).out)["items"] == []


def test_who_may_not(api: ApiServer) -> None:
    """The exit status says that a role is missing, or that the server is not to be had."""
    refused = run("proxies", IGW_SERVER=api.url, IGW_TOKEN=api.viewer, IGW_CONFIG="")
    assert (refused.status, refused.out) == (Exit.REFUSED, "")
    assert "ListProxies needs the role operator" in refused.err
    gone = run("proxies", IGW_SERVER="http://127.0.0.1:1", IGW_TOKEN="x", IGW_CONFIG="")
    assert (gone.status, gone.out) == (Exit.UNAVAILABLE, "")
