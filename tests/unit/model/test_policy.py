"""A policy survives its way through Envoy's configuration, and nothing that a client sends changes it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_model.policy import (
    Policy,
    Provider,
    policy_extensions,
    policy_of_extensions,
    policy_of_path,
    policy_path,
)

from tests.builders import gateway_id

TEXTS = st.text(min_size=1)
POLICIES = st.builds(Policy, st.sampled_from(Provider), TEXTS, TEXTS)


def test_a_policy_as_a_path() -> None:
    """The prefix can be read by people; what is not a letter or digit is percent-encoded."""
    policy = Policy(Provider.WANDB, "Acme / R&D", gateway_id(1))
    assert policy_path(policy) == f"/check/wandb/Acme%20%2F%20R%26D/{gateway_id(1)}"


@given(POLICIES)
def test_a_path_gives_its_policy_back(policy: Policy) -> None:
    """Any organisation's text comes back as it was."""
    assert policy_of_path(policy_path(policy)) == policy


@given(POLICIES, st.text().filter(lambda text: not text or text[0] in "/?"))
def test_nothing_behind_the_prefix_changes_the_policy(policy: Policy, path: str) -> None:
    """Envoy appends the request's own path, which begins with a slash: a client has no say in the policy."""
    assert policy_of_path(policy_path(policy) + "/" + path) == policy


@given(POLICIES, st.sampled_from(["/..", "/../../x/y/z", "/check/wandb/a/b", "//", "/%2e%2e/", "/;"]))
def test_a_path_that_climbs_changes_nothing(policy: Policy, path: str) -> None:
    """Dots and doubled slashes in the request's path mean nothing here."""
    assert policy_of_path(policy_path(policy) + path) == policy


@given(POLICIES)
def test_a_path_is_plain_text(policy: Policy) -> None:
    """The prefix is safe in an HTTP request line: visible ASCII, one slash between the parts."""
    assert re.fullmatch(r"/check/\w+/[!-.0-~]+/[!-.0-~]+", policy_path(policy), re.ASCII)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/unknown",
        "/unknown/check/coreweave/acme/1",
        "/check/",
        "/check/coreweave",
        "/check/coreweave/acme",
        "/check/coreweave/acme/",
        "/check/coreweave//1",
        "/check/other/acme/1",
        "/check/CoreWeave/acme/1",
        "check/coreweave/acme/1",
        "/check//coreweave/acme/1",
    ],
)
def test_no_policy_without_all_of_its_parts(path: str) -> None:
    """What names no provider, organisation and gateway is no policy: the check must deny it."""
    assert policy_of_path(path) is None


@given(POLICIES)
def test_extensions_give_their_policy_back(policy: Policy) -> None:
    """Over gRPC the same policy travels as context extensions."""
    assert policy_of_extensions(policy_extensions(policy)) == policy


@pytest.mark.parametrize("missing", ["provider", "organization", "gateway_id"])
def test_no_policy_without_all_extensions(missing: str) -> None:
    """Each extension is needed, and none may be empty."""
    extensions = policy_extensions(Policy(Provider.COREWEAVE, "acme", gateway_id(1)))
    assert policy_of_extensions({k: v for k, v in extensions.items() if k != missing}) is None
    assert policy_of_extensions({**extensions, missing: ""}) is None
    assert policy_of_extensions({}) is None
