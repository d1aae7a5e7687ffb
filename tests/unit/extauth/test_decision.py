"""The decision, and the answer it becomes."""

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_extauth.answer import Answer, answer, header_value
from igw_extauth.decision import Allow, Decision, Deny, decide
from igw_extauth.identity import Identity, Known, Principal, Unavailable, Unknown
from igw_model.policy import Policy, Provider

POLICY = Policy(Provider.WANDB, "team-a", "gw-1")


@pytest.mark.parametrize(
    ("identity", "decision"),
    [
        (Known(Principal("ann", frozenset({"team-a"}))), Allow("ann", "team-a")),
        (Known(Principal("ann", frozenset({"ann", "team-b", "team-a"}))), Allow("ann", "team-a")),
        (Known(Principal("ann", frozenset({"team-b"}))), Deny.OTHER_ORGANIZATION),
        (Known(Principal("team-a", frozenset())), Deny.OTHER_ORGANIZATION),
        (Known(Principal("ann", frozenset({"team-a2", "TEAM-A", "team"}))), Deny.OTHER_ORGANIZATION),
        (Unknown(), Deny.UNKNOWN_TOKEN),
        (Unavailable("timeout"), Deny.UNAVAILABLE),
    ],
)
def test_only_a_member_of_the_gateways_organization_passes(identity: Identity, decision: Decision) -> None:
    """A principal passes if, and only if, its authority says it belongs to the gateway's organisation."""
    assert decide(POLICY, identity) == decision


@pytest.mark.parametrize(
    ("deny", "status", "code", "headers"),
    [
        (Deny.UNKNOWN_GATEWAY, 404, "unknown_gateway", ()),
        (Deny.NO_TOKEN, 401, "missing_api_key", ((b"www-authenticate", b"Bearer"),)),
        (Deny.UNKNOWN_TOKEN, 401, "invalid_api_key", ((b"www-authenticate", b"Bearer"),)),
        (Deny.OTHER_ORGANIZATION, 403, "organization_mismatch", ()),
        (Deny.UNAVAILABLE, 503, "auth_unavailable", ((b"retry-after", b"1"),)),
    ],
)
def test_a_denial_is_an_openai_error(
    deny: Deny, status: int, code: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    """Each denial has its status, its code in an OpenAI error object, and the headers HTTP asks for."""
    told = answer(deny)
    assert (told.status, told.headers) == (status, ((b"content-type", b"application/json"), *headers))
    error = json.loads(told.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


def test_an_admission_names_the_principal_and_the_organization_that_matched() -> None:
    """What passes carries who it is, and as whose member it was admitted."""
    assert answer(Allow("ann", "team-a")) == Answer(
        200, ((b"x-igw-principal", b"ann"), (b"x-igw-organization", b"team-a"))
    )


def test_a_name_cannot_end_its_header() -> None:
    """A name with a line break cannot add a header of its own."""
    assert header_value("ann\r\nx-igw-organization: b") == b"ann%0D%0Ax-igw-organization:%20b"


@given(st.text())
def test_any_name_becomes_a_legal_header_value(name: str) -> None:
    """Whatever an authority calls a principal, the header holds visible ASCII and gives the name back."""
    value = header_value(name)
    assert all(0x21 <= byte <= 0x7E for byte in value)
    assert unquote(value.decode()) == name


def test_a_lone_surrogate_has_a_header_value() -> None:
    """JSON may hold half a character; it must not raise where a reply is made."""
    assert header_value("\ud800") == b"%ED%A0%80"
