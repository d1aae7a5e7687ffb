"""The dashboard's questions and the alerts' rules, put to a real Prometheus that scraped a real gateway at work."""

import pytest

from tests.observe.conftest import Observed
from tests.observe.dashboard import question, questions
from tests.real_envoy.running import eventually

SECONDS = 75
STABLE, CANARY = "small-stable", "small-canary"


@pytest.mark.parametrize(("title", "expression"), list(questions()))
def test_a_panel_has_data(observed: Observed, title: str, expression: str) -> None:
    """Every line of every panel is answered once what it shows has happened; none is rightly empty.

    Some of it happens once, and half a minute later a busy machine may not have come to its panel yet.
    """
    expression = expression.replace("[30s]", "[10m]")
    try:
        eventually(lambda: observed.prometheus.has(expression), SECONDS, pause=0.5)
    except AssertionError:
        pytest.fail(f"{title}: no data for {expression}")


def all_served(observed: Observed) -> None:
    """Wait until each deployment was asked for something, the one with a small share too."""
    asked = question("Requests served, by deployment")
    eventually(lambda: len(observed.prometheus.ask(asked)) == 3, SECONDS)


def test_lines_carry_the_names_that_people_gave(observed: Observed) -> None:
    """Envoy knows ids alone; the join gives each deployment's name and model."""
    all_served(observed)
    found = observed.prometheus.ask(question("Requests served, by deployment"))
    assert {(f["metric"]["deployment"], f["metric"]["model"]) for f in found} == {
        (STABLE, "demo/small"),
        (CANARY, "demo/small"),
        ("large", "demo-large"),
    }


def test_shares_of_a_model_add_up(observed: Observed) -> None:
    """What deployments of one model get of its requests is 1 together, and so is what is configured."""
    all_served(observed)
    served = observed.prometheus.ask(question("Share of its model's requests"))
    assert sum(f["value"] for f in served if f["metric"]["model"] == "demo/small") == pytest.approx(1)
    configured = observed.prometheus.ask(question("Share of its model's requests", 1))
    named = {f["metric"]["deployment"]: f["value"] for f in configured}
    assert named == {STABLE: pytest.approx(0.9), CANARY: pytest.approx(0.1), "large": 1}


def test_fallback_counts_where_the_request_went(observed: Observed) -> None:
    """While all replicas of one deployment were dead, its requests went to the other, and the panel says so.

    Envoy counts what was sent under the deployment's own cluster, and answers under the split's.
    """

    def shown() -> bool:
        expression = question("Fallback").replace("[30s]", "[10m]")
        found: dict[str, float] = {
            f["metric"]["deployment"]: f["value"] for f in observed.prometheus.ask(expression)
        }
        return found.get(CANARY, 0) > 0 > found.get(STABLE, 0)

    eventually(shown, SECONDS, pause=0.5)


def test_a_model_or_a_gateway_can_be_chosen(observed: Observed) -> None:
    """The dashboard's variables narrow what is shown; what is not there shows nothing."""
    all_served(observed)
    asked = question("Requests served, by deployment")
    by_model = observed.prometheus.ask(asked.replace('model=~".*"', 'model=~"demo-large"'))
    assert {f["metric"]["deployment"] for f in by_model} == {"large"}
    assert observed.prometheus.has(asked.replace('gateway=~".*"', 'gateway=~"by-path"'))
    assert not observed.prometheus.has(asked.replace('gateway=~".*"', 'gateway=~"elsewhere"'))


def test_alerts_are_evaluated(observed: Observed) -> None:
    """Every rule can be evaluated over what the processes really tell, and the refusal is on its way to a person."""
    health = observed.prometheus
    eventually(lambda: health.has('ALERTS{alertname="ConfigurationRefused"}'), SECONDS)
    assert health.ask("sum(prometheus_rule_evaluation_failures_total)")[0]["value"] == 0
    others = 'ALERTS{alertname=~"ControlPlaneDown|ProxyDisconnected|NoProxy"}'
    eventually(lambda: not health.has(others), SECONDS)  # one may have been pending when all began
