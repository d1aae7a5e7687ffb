"""docs/metrics.md says what the processes tell: every metric of ours, its type and labels, and every alert."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.observe.conftest import SERVICES, Observed
from tests.observe.test_alerts import rules
from tests.real_envoy.running import eventually

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "metrics.md").read_text()
ELSEWHERE = {
    "extauth": (DOCS / "limits.md").read_text().split("\n## Metrics\n")[1],
    "Usage collector": (DOCS / "usage.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0],
}
HEADINGS = {
    "control-plane": "Control plane",
    "extauth": "extauth",
    "extproc": "extproc",
    "collector": "Usage collector",
}
SELDOM = {
    "igw_extauth_authority_refused_total",
    "igw_extauth_limits_admissions_total",
    "igw_extauth_limits_numbers_requests_total",
    "igw_extauth_shared_cache_total",
    "igw_extauth_stale_answers_total",
    "igw_usage_otlp_pushes_total",
}
"""What nothing of this traffic counts in: a series, and with it its labels, appears with the first count."""
Told = set[tuple[str, str, tuple[str, ...]]]
"""Name, type and labels of metrics."""


def documented(heading: str) -> Told:
    """Give the table under a heading; some go on in a page of their own."""
    section = TEXT.split(f"### {heading}\n")[1].split("\n### ")[0].split("\n## ")[0]
    section += ELSEWHERE.get(heading, "")
    rows = re.findall(r"^\| `(igw_\w+)` \| (\w+) \|([^|]*)\|", section, re.MULTILINE)
    return {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def exposed(job: str, text: str) -> Told:
    """Give what a process tells of our own, with the labels that its samples have.

    The control plane looks up callers with extauth's code and so tells extauth's metrics too; those are documented
    there.
    """
    shared = set() if job == "extauth" else {name for name, _, _ in documented(HEADINGS["extauth"])}
    return {found for found in _exposed(text) if found[0] not in shared}


def _exposed(text: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for family in text_string_to_metric_families(text):
        if family.name.startswith("igw_") and not family.name.endswith("_created"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            suffix = "_total" if family.type == "counter" else ""
            yield family.name + suffix, family.type, tuple(sorted(labels))


@pytest.mark.parametrize("job", SERVICES)
def test_the_tables_are_what_the_processes_tell(observed: Observed, job: str) -> None:
    """A metric that is not documented, or is no more, is found here; so is a label."""
    expected = documented(HEADINGS[job])
    assert expected
    eventually(
        lambda: all(labels or not asked or name in SELDOM for name, _, labels, asked in _seen(observed, job)),
        30,
        pause=0.5,
    )
    told = {
        (name, kind, labels or (asked if name in SELDOM else ()))
        for name, kind, labels, asked in _seen(observed, job)
    }
    assert told == expected


def _seen(observed: Observed, job: str) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """Give what is told, each beside the labels that it should have: a series appears with what it counts."""
    labels = {name: asked for name, _, asked in documented(HEADINGS[job])}
    return [(*found, labels.get(found[0], ())) for found in exposed(job, observed.metrics(job))]


def test_every_alert_is_in_the_table() -> None:
    """With the severity that it has."""
    rows = re.findall(r"^\| `(\w+)` \| (critical|warning) \|", TEXT, re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in rules()]
