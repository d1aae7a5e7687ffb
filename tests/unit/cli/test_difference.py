"""What `igw apply` and `igw events` call a change, and how weights become percentages."""

from typing import Any

import pytest
from igw_cli.client import FailedError
from igw_cli.difference import FieldChange, changes
from igw_cli.shares import shares, weights_of

from tests.builders import deployment_spec, gateway_spec


@pytest.mark.parametrize(
    "after",
    [
        deployment_spec(),
        deployment_spec(id="DE000000-0000-4000-8000-000000000001"),
        deployment_spec(disabled=False, traffic={"weight": 0}),
        deployment_spec(organizationId="other"),
    ],
)
def test_no_change(after: dict[str, Any]) -> None:
    """Letter case of an id, zero values that are left out or not, and the server's own fields are none."""
    assert changes(deployment_spec(), after) == []


def test_each_changed_field_by_its_path() -> None:
    """A field that goes has no `after`, one that comes no `before`."""
    before = deployment_spec(traffic={"weight": 900}, runtime={"engine": "vllm", "version": "v1"})
    after = deployment_spec(traffic={"weight": 500}, model={"name": "demo/large"}, disabled=True)
    assert changes(before, after) == [
        FieldChange("disabled", None, True),
        FieldChange("model.name", "demo/small", "demo/large"),
        FieldChange("runtime.engine", "vllm", None),
        FieldChange("runtime.version", "v1", None),
        FieldChange("traffic.weight", 900, 500),
    ]


def test_a_version_that_the_server_chose() -> None:
    """It is no change that the file names none."""
    before = deployment_spec(runtime={"engine": "vllm", "version": "v1"})
    assert changes(before, deployment_spec(runtime={"engine": "vllm"})) == []


def test_a_choice_says_something_by_being_there() -> None:
    """Another strategy is a change, though both are empty objects."""
    before = gateway_spec(coreWeaveAuth={}, pathBasedRouting={})
    after = gateway_spec(weightsAndBiasesAuth={}, pathBasedRouting={})
    assert changes(before, after) == [
        FieldChange("coreWeaveAuth", {}, None),
        FieldChange("weightsAndBiasesAuth", None, {}),
    ]


def test_a_key_is_a_change_that_shows_nothing() -> None:
    """Nobody can say whether it is another one, and nobody sees it."""
    wandb = {"serverUrl": "https://wandb.example.com"}
    before = gateway_spec(weightsAndBiasesAuth=wandb)
    after = gateway_spec(weightsAndBiasesAuth={**wandb, "apiKey": "hush"})
    assert changes(before, after) == [FieldChange("weightsAndBiasesAuth.apiKey", None, "(hidden)")]


@pytest.mark.parametrize(
    ("weights", "percentages"),
    [
        ([900, 100], [90.0, 10.0]),
        ([0, 5], [0.0, 100.0]),
        ([0, 0], [50.0, 50.0]),
        ([0], [100.0]),
        ([100, None], [100.0, 0.0]),
        ([None], [0.0]),
    ],
)
def test_shares(weights: list[int | None], percentages: list[float]) -> None:
    """Weights are normalised; all zero share equally; a disabled one (None) gets nothing."""
    specs = [
        {"id": str(number), "traffic": {"weight": weight or 0}, "disabled": weight is None}
        for number, weight in enumerate(weights)
    ]
    assert list(shares(specs).values()) == percentages


def test_weights() -> None:
    """NAME=WEIGHT, 0 to 1000, each name once."""
    assert weights_of(["a=90", "b=0", "c=1000"]) == {"a": 90, "b": 0, "c": 1000}


@pytest.mark.parametrize("words", [["a"], ["=1"], ["a=-1"], ["a=1001"], ["a=x"], ["a=1.5"], ["a=1", "a=2"]])
def test_no_weights(words: list[str]) -> None:
    """Anything else is refused before anything is asked."""
    with pytest.raises(FailedError):
        weights_of(words)
