"""The Prometheus of compose.yaml, with its own configuration, beside the stack: it finds and reads everything."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from tests.compose.stack import MODELS, Stack, packaged
from tests.engine import BUILD_SECONDS
from tests.observe.dashboard import question
from tests.observe.tools import Prometheus
from tests.real_envoy.running import eventually

pytestmark = pytest.mark.timeout(BUILD_SECONDS)

SECONDS = 45
"""Prometheus asks every 5 s, and a rate needs two answers of what has begun to count."""
JOBS = {
    "control-plane": (("control-plane",), 18001),
    "envoy": (("envoy-1", "envoy-2"), 9902),
    "extauth": (("extauth",), 18012),
    "extproc": (("extproc",), 18021),
    "collector": (("collector",), 18031),
}
"""Each job's services in compose.yaml, and the port that answers /metrics."""


@pytest.fixture(scope="module")
def prometheus(stack: Stack) -> Iterator[Prometheus]:
    """Prometheus up, as `--profile observe` has it, and gone again."""
    image = packaged("prometheus-image", "igw-prometheus:test")
    if image is None:
        pytest.skip("deploy/offline/prometheus-image needs Debian's apt")
    observed = replace(stack, images={**stack.images, "IGW_PROMETHEUS_IMAGE": image})
    try:
        observed.compose("up", "--detach", "--no-recreate", "--no-deps", "prometheus", profile="observe")
        yield Prometheus(f"http://127.0.0.1:{stack.ports['IGW_PROMETHEUS_PORT']}")
    finally:
        observed.compose("rm", "--stop", "--force", "prometheus", profile="observe")


def targets(prometheus: Prometheus) -> dict[tuple[str, str], str]:
    """Give each target's health by job and instance; none while Prometheus starts."""
    try:
        found = httpx.get(f"{prometheus.url}/api/v1/targets").json()["data"]["activeTargets"]
    except (httpx.HTTPError, ValueError):
        return {}
    return {(target["labels"]["job"], target["labels"]["instance"]): target["health"] for target in found}


def test_every_instance_is_scraped(stack: Stack, prometheus: Prometheus) -> None:
    """Every container of each service is a target by DNS, Prometheus itself too; all answer, and there is no other."""
    expected = {
        (job, f"{stack.address_of(container, 'gateway')}:{port}"): "up"
        for job, (services, port) in JOBS.items()
        for name in services
        for container in stack.containers(name)
    }
    assert {job for job, _ in expected} == set(JOBS)
    expected["prometheus", "localhost:9090"] = "up"
    try:
        eventually(lambda: targets(prometheus) == expected, SECONDS, pause=0.5)
    except AssertionError:
        assert targets(prometheus) == expected


def test_the_dashboard_shows_this_stack(stack: Stack, prometheus: Prometheus) -> None:
    """Both Envoys are in step, every deployment has its replica, and requests stand under the deployments' names."""
    served = {name for names in MODELS.values() for name in names}

    def asked() -> bool:
        complete(stack)
        return by_deployment(prometheus, "Requests served, by deployment").keys() == served

    eventually(asked, SECONDS, pause=0.5)
    assert by_deployment(prometheus, "Ready replicas") == dict.fromkeys(served, 1.0)
    assert prometheus.ask("sum(igw_xds_synced_proxies)")[0]["value"] == 2


def by_deployment(prometheus: Prometheus, title: str) -> dict[str, float]:
    """Give what a panel shows for each deployment, without those for which it shows nothing."""
    found = prometheus.ask(question(title))
    return {each["metric"]["deployment"]: each["value"] for each in found if each["value"]}


def complete(stack: Stack) -> None:
    """Ask the first Envoy for completions of each model, so many that a share of 10 % gets some."""
    with httpx.Client(
        base_url=f"https://localhost:{stack.ports['IGW_HTTPS_PORT']}",
        headers={"Authorization": f"Bearer {stack.token}"},
        verify=stack.trust,
    ) as client:
        for model in [*MODELS] * 10:
            body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
            assert client.post("/v1/chat/completions", json=body).status_code == 200


def test_alerts_are_loaded_and_silent(prometheus: Prometheus) -> None:
    """All rules of alerts.yml are evaluated without an error, and a stack that serves costs nobody's sleep."""
    groups = httpx.get(f"{prometheus.url}/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 10
    eventually(
        lambda: not prometheus.has("prometheus_rule_group_last_evaluation_timestamp_seconds == 0"), SECONDS
    )
    assert prometheus.ask("sum(prometheus_rule_evaluation_failures_total)")[0]["value"] == 0
    assert prometheus.ask('ALERTS{alertstate="firing"}') == []
