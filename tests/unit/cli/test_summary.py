"""What operations ports answered becomes parts that are well, or need a look."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from igw_cli.status import PRINTED, document, show
from igw_cli.summary import SHOWN, Part, Process, Trouble, parts
from rich.console import Console

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NONE: dict[str, Any] = {"total": 0, "byStatus": {}, "unwell": 0, "items": []}
ENVOY: dict[str, Any] = {"id": "e", "synced": True, "reason": "", "rejections": {}}
STATUS: dict[str, Any] = {
    "version": "1.2.3",
    "startedAt": "2026-02-28T12:00:00+00:00",
    "store": "/var/lib/igw/gateway.db",
    "files": ["/etc/igw/a.yaml"],
    "storeFailure": "",
    "connected": 1,
    "synced": 1,
    "proxies": [ENVOY],
    "zones": [],
    "definition_errors": [],
    "certificates": [],
    "gateways": {**NONE, "total": 2, "byStatus": {"READY": 2}},
    "deployments": NONE,
}


def found(*services: Process, **status: Any) -> dict[str, Part]:
    """Give the parts by name."""
    plane = Process("http://plane", status=STATUS | status)
    return {part.name: part for part in parts(plane, services, NOW)}


def certificate(name: str = "a", days: float | None = 40, trouble: str = "") -> dict[str, Any]:
    """Give a certificate as the control plane shows it."""
    ends = None if days is None else (NOW + timedelta(days=days)).isoformat()
    hosts = [] if days is None else ["a.com"]
    return {"name": name, "hostNames": hosts, "notAfter": ends, "trouble": trouble}


def test_all_is_well() -> None:
    """Each part in a line."""
    services = [Process("http://a"), Process("http://b", not_after=NOW + timedelta(days=30))]
    shown = found(*services, certificates=[certificate()])
    assert {part.name: (part.well, part.told) for part in shown.values()} == {
        "control plane": (
            True,
            "ready, version 1.2.3, up 1d, store /var/lib/igw/gateway.db, definitions /etc/igw/a.yaml",
        ),
        "gateways": (True, "2 READY"),
        "deployments": (True, "none"),
        "Envoys": (True, "1 connected, 1 with the newest configuration"),
        "certificates": (True, "1 good"),
        "services": (True, "2 of 2 ready"),
    }


@pytest.mark.parametrize(
    ("status", "part", "name", "reason"),
    [
        ({"storeFailure": "disk full"}, "control plane", "store", "disk full"),
        ({"definition_errors": ["a.yaml: bad"]}, "control plane", "definitions", "a.yaml: bad"),
        ({"connected": 0, "synced": 0, "proxies": []}, "Envoys", "", "no Envoy is connected"),
        ({"proxies": [ENVOY | {"rejections": {"cds": "no"}}]}, "Envoys", "e", "refuses cds: no"),
        (
            {"proxies": [ENVOY | {"reason": "zone x is not one of ours"}]},
            "Envoys",
            "e",
            "zone x is not one of ours",
        ),
        (
            {"proxies": [ENVOY | {"synced": False}]},
            "Envoys",
            "e",
            "has not taken the newest configuration yet",
        ),
        (
            {"zones": [{"zone": "", "refused": [{"name": "gateway/1", "proxy": "e", "text": "no"}]}]},
            "Envoys",
            "gateway/1",
            "held back in zone any: e refused it: no",
        ),
        (
            {"certificates": [certificate(days=None, trouble="tls.key is missing")]},
            "certificates",
            "a",
            "broken: tls.key is missing",
        ),
        (
            {"certificates": [certificate(trouble="tls.key is missing")]},
            "certificates",
            "a",
            "broken: tls.key is missing. The one from before is shown until 2026-04-10 12:00 UTC",
        ),
        (
            {"certificates": [certificate(days=13)]},
            "certificates",
            "a",
            "ends soon: 2026-03-14 12:00 UTC, for a.com",
        ),
        (
            {"certificates": [certificate(days=0)]},
            "certificates",
            "a",
            "expired: 2026-03-01 12:00 UTC, for a.com",
        ),
        (
            {
                "gateways": {
                    "total": 1,
                    "byStatus": {"ERROR": 1},
                    "unwell": 1,
                    "items": [
                        {
                            "name": "chat",
                            "organizationId": "acme",
                            "status": "ERROR",
                            "reasons": ["Rejected: no"],
                        }
                    ],
                }
            },
            "gateways",
            "acme/chat",
            "ERROR; Rejected: no",
        ),
    ],
)
def test_what_needs_a_look(status: dict[str, Any], part: str, name: str, reason: str) -> None:
    """It is named with the reason, and all other parts are well."""
    shown = found(**status)
    assert shown[part].troubles == (Trouble(name, reason),)
    assert [one.name for one in shown.values() if not one.well] == [part]


def test_a_process_of_ours() -> None:
    """One that is not ready, one whose disk is full, one whose own certificate ends."""
    soon = NOW + timedelta(days=2)
    services = [
        Process("http://a", failure="not ready: stopping"),
        Process("http://b", status={"failure": "disk full"}),
        Process("http://c", not_after=soon),
    ]
    assert found(*services)["services"].troubles == (
        Trouble("http://a", "not ready: stopping"),
        Trouble("http://b", "disk full"),
        Trouble("http://c", "its own certificate ends soon: 2026-03-03 12:00 UTC"),
    )
    [plane, *_] = parts(Process("http://p", status=STATUS, not_after=soon), (), NOW)
    assert plane.troubles == (Trouble("", "its own certificate ends soon: 2026-03-03 12:00 UTC"),)


def test_services_that_nobody_named_may_be_elsewhere() -> None:
    """Where none is found nothing is known of them; one that answers counts."""
    absent = [Process("http://x", name, "cannot be reached") for name in ("extauth", "extproc")]
    shown = found(*absent)["services"]
    assert (shown.well, shown.known) == (True, False)
    assert shown.told == "no extauth, extproc on this machine: name them with --service"
    shown = found(*absent, Process("http://y", "collector", status={"failure": "disk full"}))["services"]
    assert (shown.known, shown.troubles) == (True, (Trouble("http://y", "disk full"),))


def test_a_control_plane_that_is_away() -> None:
    """Services are shown all the same, and of what only it knows nothing."""
    shown = parts(Process("http://plane", failure="cannot be reached"), [Process("http://a")], NOW)
    assert [(part.name, part.well) for part in shown] == [("control plane", False), ("services", True)]
    assert shown[0].troubles == (Trouble("", "cannot be reached"),)


def test_only_the_first_troubles_are_told() -> None:
    """The others are counted, those that the control plane left out too."""
    envoys = [ENVOY | {"id": str(number), "synced": False} for number in range(SHOWN + 5)]
    assert found(proxies=envoys)["Envoys"].omitted == 5
    item = {"name": "chat", "organizationId": "acme", "status": "CREATING", "reasons": []}
    gateways = {"total": 90, "byStatus": {"CREATING": 90}, "unwell": 90, "items": [item] * 20}
    shown = found(gateways=gateways)
    assert (len(shown["gateways"].troubles), shown["gateways"].omitted) == (20, 70)
    assert document(list(shown.values()))["omittedTroubles"] == 70
    out = io.StringIO()
    show(list(shown.values()), Console(file=out, width=100))
    assert [" ".join(line.split()) for line in out.getvalue().splitlines()[-6:]] == [
        *["gateways acme/chat CREATING"] * PRINTED,
        "gateways … and 85 more",
    ]
