"""The alerts as promtool judges them: valid, tested, and each with what to do."""

import subprocess
from typing import Any

import yaml

from tests.observe.tools import COMPOSE, tool


def rules() -> list[dict[str, Any]]:
    """Give the alerts."""
    document = yaml.safe_load((COMPOSE / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool where the files are."""
    return subprocess.run(
        [tool("promtool"), *arguments], cwd=COMPOSE, capture_output=True, text=True, check=False
    )


def test_the_configuration_is_valid() -> None:
    """Prometheus would start with it, the rules included."""
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stderr


def test_alerts_fire_when_they_should() -> None:
    """The cases of alerts.test.yml hold: when each alert fires, and when none does."""
    done = promtool("test", "rules", "alerts.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    """An alert that no case fires could be one that never fires."""
    cases = yaml.safe_load((COMPOSE / "alerts.test.yml").read_text())["tests"]
    well, *others = cases
    assert {test["alertname"] for test in well["alert_rule_test"]} == {rule["alert"] for rule in rules()}
    fired = yaml.safe_dump(others)
    assert not [rule["alert"] for rule in rules() if rule["alert"] not in fired]


def test_every_alert_says_what_to_do() -> None:
    """Who is woken finds what is wrong, what that means, and the first step."""
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["for"]
