"""The Grafana dashboard as tests see it: its panels and what each asks Prometheus."""

import json
from collections.abc import Iterator
from typing import Any

from tests.observe.tools import COMPOSE

FILE = COMPOSE / "grafana" / "dashboards" / "inference-gateway.json"
VARIABLES = {"gateway": ".*", "model": ".*", "proxy": ".*", "__rate_interval": "30s"}


def dashboard() -> dict[str, Any]:
    """Give the dashboard."""
    document: dict[str, Any] = json.loads(FILE.read_text())
    return document


def panels() -> list[dict[str, Any]]:
    """Give what shows something: all but the rows' headings."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def questions() -> Iterator[tuple[str, str]]:
    """Give each panel's expressions as Grafana asks them with everything chosen, each with the panel's title."""
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(f"${name}", value)
            yield panel["title"], expression


def question(title: str, number: int = 0) -> str:
    """Give one expression of a panel."""
    return [expression for panel, expression in questions() if panel == title][number]
