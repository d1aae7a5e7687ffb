"""A policy survives its way through Envoy's configuration, and nothing that a client sends changes it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_model.policy import (
    Access,
    Policy,
    Provider,
    policy_extensions,
    policy_of_extensions,
    policy_of_text,
    policy_text,
)

from tests.builders import gateway_id

TEXTS = st.text(min_size=1)
ENTITIES = st.lists(TEXTS, max_size=3, unique=True).map(tuple)
OPEN = st.sampled_from([Access.ANY, Access.PENDING])
POLICIES = st.one_of(
    st.builds(Policy, st.just(Provider.COREWEAVE), TEXTS, TEXTS),
    st.builds(Policy, st.just(Provider.WANDB), TEXTS, TEXTS, OPEN, limited=st.booleans()),
    st.builds(
        Policy,
        st.just(Provider.WANDB),
        TEXTS,
        TEXTS,
        st.just(Access.ENTITIES),
        ENTITIES,
        limited=st.booleans(),
    ),
)


def test_a_policy_as_a_text() -> None:
    """The text can be read by people; what is not a letter or digit is percent-encoded."""
    policy = Policy(Provider.COREWEAVE, "Acme / R&D", gateway_id(1))
    assert policy_text(policy) == f"coreweave/Acme%20%2F%20R%26D/{gateway_id(1)}"
    team = Policy(Provider.WANDB, "acme", gateway_id(1), Access.ENTITIES, ("ops", "r&d"), limited=True)
    assert policy_text(team) == f"wandb/acme/{gateway_id(1)}/entities/limited/ops/r%26d"
    nobody = Policy(Provider.WANDB, "acme", gateway_id(1), Access.PENDING)
    assert policy_text(nobody) == f"wandb/acme/{gateway_id(1)}/pending/unlimited"


@given(POLICIES)
def test_a_text_gives_its_policy_back(policy: Policy) -> None:
    """Any organisation's text comes back as it was."""
    assert policy_of_text(policy_text(policy)) == policy


@given(POLICIES)
def test_a_text_is_a_header_value(policy: Policy) -> None:
    """The text is safe in a header: visible ASCII without commas, one slash between the parts."""
    assert re.fullmatch(r"\w+(/[\w.~%-]+){2,}", policy_text(policy), re.ASCII)


@given(POLICIES, POLICIES, st.sampled_from([",", ", ", ";", " "]))
def test_two_texts_are_no_policy(one: Policy, other: Policy, between: str) -> None:
    """Values of two headers that were joined on the way give neither policy."""
    assert policy_of_text(policy_text(one) + between + policy_text(other)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "/",
        "//",
        "-/-/-",
        "coreweave",
        "coreweave/acme",
        "coreweave/acme/",
        "coreweave//1",
        "/coreweave/acme/1",
        "coreweave/acme/1/",
        "coreweave/acme/1/v1",
        "other/acme/1",
        "CoreWeave/acme/1",
        "coreweave%2Facme%2F1",
        "wandb/acme/1",
        "wandb/acme/1/any",
        "wandb/acme/1/any/unlimited/research",
        "wandb/acme/1/pending/limited/research",
        "wandb/acme/1/all/limited",
        "wandb/acme/1/entities/some/research",
        "wandb//1/any/limited",
    ],
)
def test_no_policy_without_all_of_its_parts(text: str) -> None:
    """What names no provider, organisation and gateway is no policy: the check must deny it."""
    assert policy_of_text(text) is None


@given(POLICIES)
def test_extensions_give_their_policy_back(policy: Policy) -> None:
    """Over gRPC the same policy travels as context extensions."""
    assert policy_of_extensions(policy_extensions(policy)) == policy


def test_no_policy_without_the_extension() -> None:
    """It is needed, and may not be empty; others say nothing."""
    [(name, text)] = policy_extensions(Policy(Provider.COREWEAVE, "acme", gateway_id(1))).items()
    assert policy_of_extensions({name: ""}) is None
    assert policy_of_extensions({}) is None
    assert policy_of_extensions({"other": text}) is None
