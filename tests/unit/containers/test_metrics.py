"""What is told of an engine and its containers."""

import re
from pathlib import Path

from igw_containers.metrics import Metrics
from prometheus_client import CollectorRegistry

GUIDE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_guide_names_every_metric() -> None:
    """docs/metrics.md has them all, of their type, and no other."""
    registry = CollectorRegistry()
    Metrics(registry)
    told = {(m.name + ("_total" if m.type == "counter" else ""), m.type) for m in registry.collect()}
    section = GUIDE.read_text(encoding="utf-8").split("### Containers\n")[1].split("\n### ")[0]
    assert set(re.findall(r"^\| `(igw_\w+)` \| (\w+) \|", section, re.MULTILINE)) == told
