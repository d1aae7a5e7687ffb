"""The decision, and the answer it becomes."""

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_extauth.answer import Answer, admitted, answer, header_value, held
from igw_extauth.decision import Allow, Decision, Deny, decide
from igw_extauth.identity import Identity, Known, Principal, Unavailable, Unknown
from igw_extauth.keeper import Admitted, Exceeded, Held, Level, Levels
from igw_model.policy import Access, Policy, Provider

POLICY = Policy(Provider.COREWEAVE, "team-a", "gw-1")
EVE = Principal("eve", frozenset({"eve-entity", "team-a", "team-b"}), "eve-entity")


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


def wandb(access: Access = Access.ANY, *entities: str) -> Policy:
    """Give a W&B gateway's policy."""
    return Policy(Provider.WANDB, "org-1", "gw-1", access, entities)


def eve(project: str) -> Allow:
    """Give what lets Eve pass."""
    return Allow("eve", "org-1", project)


@pytest.mark.parametrize(
    ("policy", "project", "decision"),
    [
        (wandb(), None, eve("eve-entity/inference")),
        (wandb(), "team-b/p", eve("team-b/p")),
        (wandb(), "eve-entity/p", eve("eve-entity/p")),
        (wandb(), "team-c/p", Deny.OTHER_PROJECT),
        (wandb(), "TEAM-A/p", Deny.OTHER_PROJECT),
        (wandb(), "team-a", Deny.BAD_PROJECT),
        (wandb(), "team-a/p/q", Deny.BAD_PROJECT),
        (wandb(), "team-a/p,team-a/q", Deny.BAD_PROJECT),
        (wandb(), "team-a/p\n", Deny.BAD_PROJECT),
        (wandb(Access.ENTITIES, "team-a"), None, eve("eve-entity/inference")),
        (wandb(Access.ENTITIES, "team-a"), "team-b/p", eve("team-b/p")),
        (wandb(Access.ENTITIES, "team-c", "team-b"), None, eve("eve-entity/inference")),
        (wandb(Access.ENTITIES, "team-c"), None, Deny.OTHER_ORGANIZATION),
        (wandb(Access.ENTITIES, "eve"), None, Deny.OTHER_ORGANIZATION),
        (wandb(Access.ENTITIES), None, Deny.OTHER_ORGANIZATION),
        (wandb(Access.PENDING), None, Deny.UNAVAILABLE),
    ],
)
def test_a_wandb_key_passes_by_access_and_is_attributed(
    policy: Policy, project: str | None, decision: Decision
) -> None:
    """Access says who may pass; the project, named or default, must be of an entity of the key."""
    assert decide(policy, Known(EVE), project) == decision


def test_a_key_without_a_default_entity_must_name_a_project() -> None:
    """There is nobody to attribute its requests to."""
    nameless = Known(Principal("bot", frozenset({"team-a"})))
    assert decide(wandb(), nameless) is Deny.NO_ENTITY
    assert decide(wandb(), nameless, "team-a/p") == Allow("bot", "org-1", "team-a/p")


@pytest.mark.parametrize(
    ("deny", "status", "code", "headers"),
    [
        (Deny.UNKNOWN_GATEWAY, 404, "unknown_gateway", ()),
        (Deny.NO_TOKEN, 401, "missing_api_key", ((b"www-authenticate", b"Bearer"),)),
        (Deny.UNKNOWN_TOKEN, 401, "invalid_api_key", ((b"www-authenticate", b"Bearer"),)),
        (Deny.OTHER_ORGANIZATION, 403, "organization_mismatch", ()),
        (Deny.BAD_PROJECT, 400, "invalid_project", ()),
        (Deny.OTHER_PROJECT, 403, "project_mismatch", ()),
        (Deny.NO_ENTITY, 400, "missing_project", ()),
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


def test_what_passes_says_who_it_is() -> None:
    """The model server learns the principal and whose it is; Envoy alone learns the hash."""
    told = answer(Allow("ann", "team-a"), "0123abcd")
    assert told == Answer(
        200,
        ((b"x-igw-principal", b"ann"), (b"x-igw-organization", b"team-a")),
        metadata=((b"x-igw-token", b"0123abcd"),),
    )
    of_wandb = answer(Allow("ann", "org-1", "team-a/p"), "0123abcd")
    assert of_wandb.headers[2:] == ((b"x-igw-entity", b"team-a"), (b"x-igw-project", b"team-a/p"))


def test_what_holds_a_slot_says_its_limits() -> None:
    """The client learns its limits, Envoy the slot; limits that are not there are not told."""
    levels = Levels(tokens=Level(100, -3, 90.0))
    told = admitted(Allow("ann", "org-1", "team-a/p"), "0123abcd", Admitted("lease-1", levels))
    assert told.client == (
        (b"x-ratelimit-limit-tokens", b"100"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"1m30s"),
    )
    assert told.metadata == ((b"x-igw-token", b"0123abcd"), (b"x-igw-lease", b"lease-1"))
    assert told.lines == (*told.headers, *told.client, *told.metadata)


@pytest.mark.parametrize("limit", Exceeded)
@pytest.mark.parametrize(("seconds", "after"), [(0, b"1"), (0.2, b"1"), (1, b"1"), (1.01, b"2"), (60, b"60")])
def test_who_is_held_is_told_when_to_return(limit: Exceeded, seconds: float, after: bytes) -> None:
    """``Retry-After`` is in whole seconds, at least one, and never too early."""
    told = held(Held(limit, seconds, Levels()))
    assert dict(told.headers)[b"retry-after"] == after
    assert told.status in {402, 403, 429, 503}


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
