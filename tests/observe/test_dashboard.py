"""The dashboard's own rules; Grafana cannot be had here, so what it would show is asked in test_prometheus."""

import re
from itertools import combinations
from typing import Any

import yaml

from tests.observe.dashboard import dashboard, panels
from tests.observe.tools import COMPOSE

GRAFANA = COMPOSE / "grafana"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS = 24


def test_it_is_what_grafana_reads() -> None:
    """A dashboard of a known schema, with an address of its own, that Grafana gives an id."""
    found = dashboard()
    assert found["schemaVersion"] >= 41
    assert (found["uid"], found["title"]) == ("inference-gateway", "Inference Gateway")
    assert "id" not in found


def test_panels_have_ids_of_their_own() -> None:
    """Grafana tells panels apart by id."""
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in dashboard()["panels"]]
    assert len(titles) == len(set(titles))


def test_no_panel_lies_on_another() -> None:
    """Every panel is within the grid, and each has its place alone."""
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    assert all(at["x"] >= 0 and at["w"] > 0 and at["x"] + at["w"] <= COLUMNS for at in places)
    assert not [(a, b) for a, b in combinations(places, 2) if _overlap(a, b)]


def _overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
    above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    return not (apart or above)


def test_every_panel_explains_itself() -> None:
    """A reader finds what a number means, in which unit, and which line is what."""
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == SOURCE
        assert [target["refId"] for target in panel["targets"]] == sorted(
            {target["refId"] for target in panel["targets"]}
        )
        for target in panel["targets"]:
            assert target["expr"], panel["title"]
            assert target["legendFormat"], panel["title"]
            assert target["datasource"] == SOURCE


def test_legends_name_labels_that_the_expression_keeps() -> None:
    """A `{{label}}` that is summed away would show as an empty name."""
    for panel in panels():
        for target in panel["targets"]:
            kept = set(re.findall(r"(?:by|group_left) \(([^)]*)\)", target["expr"]))
            names = {name.strip() for group in kept for name in group.split(",")}
            assert _labels(target) <= names | {"job", "instance"}, panel["title"]


def _labels(target: dict[str, Any]) -> set[str]:
    return set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))


def test_variables_are_those_that_panels_use() -> None:
    """A variable that narrows nothing misleads; one that is not defined breaks its panel."""
    defined = {variable["name"] for variable in dashboard()["templating"]["list"]}
    text = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    assert set(re.findall(r"\$([a-z]\w*)", text)) == defined


def test_provisioning_leads_to_it() -> None:
    """Grafana starts with the data source that the dashboard names, and finds the dashboard's folder."""
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert {"type": source["type"], "uid": source["uid"]} == SOURCE
    scraped = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/inference-gateway.yaml").read_text())[
        "providers"
    ]
    mounted = yaml.safe_load((COMPOSE.parents[1] / "compose.yaml").read_text())["services"]["grafana"][
        "volumes"
    ]
    assert f"./deploy/compose/grafana/dashboards:{provider['options']['path']}:ro" in mounted
