"""What holds between definitions: unique ids and names, gateways that exist, host names with one owner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_model.definitions import Definitions, combine, derived_id, gateway_host, unused
from igw_model.deployment import Deployment
from igw_model.gateway import Gateway

from tests.builders import deployment, deployment_id, gateway, gateway_id


def messages(*definitions: Gateway | Deployment) -> list[tuple[str, str]]:
    """Give the broken rules: the definition's name, and the message."""
    gateways = [d for d in definitions if isinstance(d, Gateway)]
    combined = combine(gateways, [d for d in definitions if isinstance(d, Deployment)])
    return [(value.name, str(error)) for value, error in combined] if isinstance(combined, list) else []


def dns(number: int, *names: str) -> Gateway:
    """Give a gateway with further host names."""
    return gateway(number, endpointConfiguration={"additionalDns": list(names)})


def test_definitions_keep_their_order() -> None:
    """Lists keep their order (section 1)."""
    gateways, deployments = [gateway(2), gateway(1)], [deployment(2, on=[2, 1]), deployment(1)]
    assert combine(gateways, deployments) == Definitions(tuple(gateways), tuple(deployments))
    assert combine([], []) == Definitions()


def test_gateways_are_named_by_id_or_name() -> None:
    """`gatewayIds` holds existing gateways; in files a name will do, and twice the same is once."""
    by_name = deployment(1, gatewayIds=["gateway-2", gateway_id(1), gateway_id(2), "gateway-1"])
    assert combine([gateway(1), gateway(2)], [by_name]) == Definitions(
        (gateway(1), gateway(2)), (deployment(1, on=[2, 1]),)
    )


def test_an_unknown_gateway_is_named() -> None:
    """Each of `gatewayIds` is an existing gateway."""
    assert messages(gateway(1), deployment(1, gatewayIds=["gateway-1", "chat"])) == [
        ("deployment-1", "gatewayIds[1]: no gateway has the id or name 'chat' in this organisation")
    ]


def test_a_gateway_of_another_organisation_is_unknown() -> None:
    """`gatewayIds` are gateways of the deployment's own organisation."""
    other = deployment(1, organizationId="other", gatewayIds=[gateway_id(1)])
    assert messages(gateway(1), other) == [
        (
            "deployment-1",
            f"gatewayIds[0]: no gateway has the id or name {gateway_id(1)!r} in this organisation",
        )
    ]


def test_ids_are_unique() -> None:
    """An id names one gateway, and one deployment; the second use is the one at fault."""
    again = gateway(2, id=gateway_id(1), name="again")
    assert messages(gateway(1), again) == [("again", "id: is used by another gateway")]
    assert messages(gateway(1), deployment(1), deployment(2, id=deployment_id(1))) == [
        ("deployment-2", "id: is used by another deployment")
    ]


def test_names_are_unique_within_an_organisation() -> None:
    """A name is unique within the organisation (section 2), not beyond it."""
    assert messages(gateway(1, name="chat"), gateway(2, name="chat")) == [
        ("chat", "name: is used by another gateway")
    ]
    assert messages(gateway(1, name="chat"), gateway(2, name="chat", organizationId="other")) == []
    assert messages(gateway(1), deployment(1, name="small"), deployment(2, name="small")) == [
        ("small", "name: is used by another deployment")
    ]
    assert messages(gateway(1, name="same"), deployment(1, name="same")) == []


@pytest.mark.parametrize("spelling", ["chat.example.com", "Chat.Example.COM", "chat.example.com."])
def test_a_host_name_belongs_to_one_gateway(spelling: str) -> None:
    """One name belongs to one gateway only, however it is spelled; that gateway may repeat it."""
    path = "endpointConfiguration.additionalDns[1]"
    assert messages(dns(1, "chat.example.com"), dns(2, "b.example.com", spelling)) == [
        ("gateway-2", f"{path}: {spelling} already belongs to gateway {gateway_id(1)}")
    ]
    assert messages(dns(1, "chat.example.com", spelling)) == []


@pytest.mark.parametrize("domain", ["gw.example.com", "elsewhere.example.org"])
def test_a_generated_host_name_is_its_gateway_s(domain: str) -> None:
    """No gateway may take the name that another one is reached by, whatever the installation's domain."""
    taken = f"API.{gateway_id(2).upper()}.{domain}."
    path = "endpointConfiguration.additionalDns[0]"
    assert messages(dns(1, taken), gateway(2)) == [
        ("gateway-1", f"{path}: {taken} already belongs to gateway {gateway_id(2)}")
    ]
    assert messages(dns(2, taken)) == []
    assert messages(dns(1, f"api.{gateway_id(3)}.{domain}"), gateway(2)) == []


def test_all_errors_are_told_at_once() -> None:
    """One look at the messages is enough to mend the definitions."""
    twice = gateway(2, name="gateway-1", endpointConfiguration={"additionalDns": ["a.com"]})
    assert messages(dns(1, "a.com"), twice, deployment(1, gatewayIds=["x", "y"])) == [
        ("gateway-1", "name: is used by another gateway"),
        (
            "gateway-1",
            f"endpointConfiguration.additionalDns[0]: a.com already belongs to gateway {gateway_id(1)}",
        ),
        ("deployment-1", "gatewayIds[0]: no gateway has the id or name 'x' in this organisation"),
        ("deployment-1", "gatewayIds[1]: no gateway has the id or name 'y' in this organisation"),
    ]


def test_a_derived_id_is_always_the_same() -> None:
    """A file without ids gives the same host names everywhere and for ever."""
    assert derived_id("gateway", "acme", "chat") == "25763b19-c3a1-5435-9af5-667dd944f4be"


TEXTS = st.text("/a%ü", max_size=4) | st.text(max_size=4)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), unique=True, min_size=2, max_size=2))
def test_derived_ids_differ(definitions: list[tuple[str, str, str]]) -> None:
    """Kind, organisation and name are each part of an id, whatever they contain."""
    first, second = definitions
    assert derived_id(*first) != derived_id(*second)


def test_a_generated_host_name() -> None:
    """An endpoint is `api.<GATEWAY-ID>.<domain>` (section 2), in its one spelling."""
    assert gateway_host(gateway_id(1), "GW.Example.com.") == f"api.{gateway_id(1)}.gw.example.com"


def test_a_name_never_takes_anothers_id() -> None:
    """A gateway named like another's id gets none of that one's deployments."""
    gateways = [gateway(1), gateway(2, name=gateway_id(1))]
    combined = combine(gateways, [deployment(1, on=[1])])
    assert isinstance(combined, Definitions)
    assert combined.deployments[0].gateway_ids == (gateway_id(1),)


def test_ids_are_found_in_any_spelling() -> None:
    """A UUID is the same UUID in upper case."""
    upper = deployment(1).model_copy(update={"gateway_ids": (gateway_id(1).upper(),)})
    combined = combine([gateway(1)], [upper])
    assert isinstance(combined, Definitions)
    assert combined.deployments[0].gateway_ids == (gateway_id(1),)


def test_what_has_no_effect_is_said() -> None:
    """A field of W&B gateways that nothing reads yet is named."""
    auth = {"serverUrl": "https://wandb.example.com", "enableUsageReports": True}
    named = unused(Definitions((gateway(1, weightsAndBiasesAuth=auth, coreWeaveAuth=None), gateway(2))))
    assert [text.split(": ")[1].split()[0] for text in named] == ["serverUrl"]
