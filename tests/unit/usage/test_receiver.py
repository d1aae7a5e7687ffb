"""The demo's end of reports: each counted once, over restarts, and changed ones refused."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from igw_demo.authority import authority_app
from igw_demo.reports import Reports
from igw_demo.serving import running


def body(batch: str, *numbers: int, **changed: Any) -> bytes:
    """Give a report."""
    record = {"gatewayId": "gw-1", "project": "team/a", "model": "small", "status": 200, "totalTokens": 3}
    return json.dumps(
        {"batch": batch, "records": [record | {"id": f"id-{n}"} | changed for n in numbers]}
    ).encode()


def test_each_report_counts_once() -> None:
    """The same again is taken and not counted; the same key with other content is not taken."""
    reports = Reports()
    assert reports.take("a", body("a", 1, 2)) == (200, {"records": 2})
    assert reports.take("a", body("a", 1, 2)) == (200, {"repeated": True})
    assert reports.take("a", body("a", 1, 3))[0] == 409
    assert reports.take("b", body("b", 2, status=500))[0] == 200
    document = reports.document()
    (totals,) = document.pop("totals")
    assert document == {"reports": 2, "repeated": 1, "refused": 1, "records": 2, "repeatedRecords": 1}
    assert (totals["requests"], totals["errors"], totals["totalTokens"]) == (3, 1, 9)


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("", body("a", 1)),
        ("b", body("a", 1)),
        ("a", b"{"),
        ("a", b'{"batch":"a","records":[{}]}'),
        ("a", b"\xff"),
    ],
    ids=["no key", "another key", "no JSON", "no record", "no text"],
)
def test_what_it_refuses(key: str, content: bytes) -> None:
    """A report that makes no sense is a sender's fault, and shows."""
    reports = Reports()
    assert reports.take(key, content)[0] == 400
    assert reports.document()["refused"] == 1


def test_its_file(tmp_path: Path) -> None:
    """What was taken is known after a restart; a line that was cut by a kill was not."""
    file = tmp_path / "reports"
    first = Reports(file)
    first.take("a", body("a", 1))
    first.take("b", body("b", 2))
    with file.open("a") as cut:
        cut.write('["c", "half')
    again = Reports(file)
    assert again.document()["records"] == 2
    assert again.take("a", body("a", 1)) == (200, {"repeated": True})
    assert again.take("c", body("c", 3))[0] == 200
    assert Reports(file).document()["totals"] == again.document()["totals"]


async def test_over_http() -> None:
    """It asks for the service's token, and can be made to fail."""
    async with (
        running(authority_app((), "secret")) as address,
        httpx.AsyncClient(base_url=address.url) as client,
    ):
        statuses = []
        for fault in ({}, {"kind": "status", "status": 503, "calls": ["reports"]}, {}):
            await client.post("/demo/fault", json=fault)
            for token in ("secret", "other"):
                headers = {"idempotency-key": "a", "authorization": f"Bearer {token}"}
                statuses.append(
                    (await client.post("/reports", content=body("a", 1), headers=headers)).status_code
                )
        assert statuses == [200, 401, 503, 503, 200, 401]
        assert (await client.get("/demo/reports")).json()["reports"] == 1
        assert (await client.get("/demo/calls")).json()["reports"] == 6
