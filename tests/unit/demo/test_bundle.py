"""The bundled definitions."""

from collections import Counter
from typing import Any

import pytest
import yaml
from igw_demo.bundle import demo_definitions, demo_replicas, render_demo

PORTS = (9101, 9102, 9103)


def specs(kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all(render_demo(demo_replicas(PORTS), "my-org"))
    return {document["spec"]["name"]: document["spec"] for document in documents if document["kind"] == kind}


def test_kinds() -> None:
    """There are four gateways and three deployments, in one organisation, each with an id of its own."""
    documents = list(yaml.safe_load_all(render_demo(demo_replicas(PORTS), "my-org")))
    assert Counter(document["kind"] for document in documents) == {"Gateway": 4, "Deployment": 3}
    assert {document["spec"]["organizationId"] for document in documents} == {"my-org"}
    assert len({document["spec"]["id"] for document in documents}) == 7


def test_every_strategy_and_authentication_is_shown() -> None:
    """The gateways cover the three routing strategies and both authentication types."""
    fields = {
        name: [field for field in spec if field.endswith(("Auth", "Routing"))]
        for name, spec in specs("Gateway").items()
    }
    assert fields == {
        "chat": ["coreWeaveAuth", "bodyBasedRouting"],
        "by-header": ["coreWeaveAuth", "headerBasedRouting"],
        "by-path": ["coreWeaveAuth", "pathBasedRouting"],
        "wandb-chat": ["weightsAndBiasesAuth", "bodyBasedRouting"],
    }


def test_keys_of_one_entity_with_limits() -> None:
    """The W&B gateway lets in the organisation's own entity, and limits its projects."""
    auth = specs("Gateway")["wandb-chat"]["weightsAndBiasesAuth"]
    assert auth == {"allowedEntities": ["my-org"], "enableRateLimiting": True, "enableUsageReports": True}


def test_deployments_are_those_of_the_replicas() -> None:
    """Each deployment's endpoints are the replicas whose settings say that they are of it."""
    expected: dict[str, list[dict[str, Any]]] = {}
    for replica in demo_replicas(PORTS):
        for name in replica.deployments.values():
            expected.setdefault(name, []).append({"address": "127.0.0.1", "port": replica.port})
    deployments = specs("Deployment")
    assert {name: spec["staticBackend"]["endpoints"] for name, spec in deployments.items()} == expected
    models = {name: model for replica in demo_replicas(PORTS) for model, name in replica.deployments.items()}
    assert {name: spec["model"]["name"] for name, spec in deployments.items()} == models


def test_canary_gets_a_tenth() -> None:
    """The model demo/small is split 900 to 100."""
    weights = {
        name: spec["traffic"]["weight"]
        for name, spec in specs("Deployment").items()
        if spec["model"]["name"] == "demo/small"
    }
    assert weights == {"small-stable": 900, "small-canary": 100}


def test_all_deployments_are_on_all_gateways() -> None:
    """Every gateway, by name, serves every model."""
    gateways = list(specs("Gateway"))
    assert [spec["gatewayIds"] for spec in specs("Deployment").values()] == [gateways] * 3


def test_comments_stay() -> None:
    """The rendered text keeps its comments, is for people as well, and has no place left unfilled."""
    rendered = render_demo(demo_replicas(PORTS))
    assert rendered.count("#") == demo_definitions().read_text().count("#")
    assert "$$" not in rendered
    assert "$small" not in rendered


@pytest.mark.parametrize("organization", ['a: "b"', "no", "123", "x\ny: 1", "ü"])
def test_any_organization_is_one_string(organization: str) -> None:
    """An organisation's name can't change the document around it."""
    (first, *_) = yaml.safe_load_all(render_demo(demo_replicas(PORTS), organization))
    assert first["spec"]["organizationId"] == organization


def test_one_port_for_each_replica() -> None:
    """Too few or too many ports are an error."""
    with pytest.raises(ValueError, match="argument"):
        demo_replicas((1, 2))
