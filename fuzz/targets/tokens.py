"""Tokens, projects and policies of a check: the values of a header, a line each, and what may be read of them."""

import re
import string
from urllib.parse import unquote

from igw_extauth import hashing
from igw_extauth.answer import answer, header_value
from igw_extauth.attempt import bearer_token, project_text
from igw_extauth.decision import Allow, Decision, decide
from igw_extauth.identity import Known, Principal
from igw_extauth.shapes import may_be
from igw_extauth.wire.http_request import Policies
from igw_model.policy import (
    MOST_ENTITIES,
    Access,
    Policy,
    Provider,
    policy_extensions,
    policy_of_extensions,
    policy_of_text,
    policy_text,
)

WATCHED = ("igw_model", "igw_extauth")
MAX_BYTES = 8192
_TOKEN = frozenset(string.ascii_letters + string.digits + "._~+/-=")
_POLICIES = Policies()
_LINE = re.compile(rb"[!-~]*")


def check(data: bytes) -> None:
    """Read the values of each header from the lines."""
    values = [line.decode("latin-1") for line in data.split(b"\n")]
    _check_token(values)
    _check_policy(data)
    _check_project(data, values)


def _check_token(values: list[str]) -> None:
    token = bearer_token(values)
    if len(values) != 1:
        assert token is None
        return
    scheme, _, rest = values[0].strip(" \t").partition(" ")
    rest = rest.lstrip(" ")
    text = rest.rstrip("=")
    legal = (
        scheme.lower() == "bearer"
        and 1 <= len(text) <= 4096
        and len(rest) - len(text) <= 2
        and "=" not in text
        and set(text) <= _TOKEN
    )
    assert (token is not None) == legal, values
    if token is None:
        return
    assert token.reveal() == rest
    assert rest not in repr(token) or rest in "BearerToken(hidden)"
    for provider in Provider:
        if may_be(provider, token):
            key = hashing.key(provider, hashing.digest(token.reveal()), b"0" * 32)
            assert len(hashing.short(key)) == hashing.SHORT


def _check_policy(data: bytes) -> None:
    policy = _POLICIES.policy([data])
    assert _POLICIES.policy([data, data]) is None
    if policy is not None:
        assert policy.gateway_id
        assert policy.organization
        assert policy_of_text(policy_text(policy)) == policy
    parts = [unquote(part) for part in data.decode(errors="replace").split("\n")]
    made = _made(parts)
    if made is not None:
        text = policy_text(made)
        assert _LINE.fullmatch(text.encode("ascii"))
        assert policy_of_text(text) == policy_of_extensions(policy_extensions(made)) == made
        assert _POLICIES.policy([text.encode()]) == made


def _made(parts: list[str]) -> Policy | None:
    match parts:
        case [organization, gateway] if organization and gateway:
            return Policy(Provider.COREWEAVE, organization, gateway)
        case [organization, gateway, *entities] if (
            organization and gateway and len(entities) <= MOST_ENTITIES
        ):
            return Policy(
                Provider.WANDB, organization, gateway, Access.ENTITIES, tuple(entities), limited=True
            )
        case _:
            return None


def _check_project(data: bytes, values: list[str]) -> None:
    project = project_text(values)
    assert (project is None) == (not ",".join(values).strip())
    entity, _, _ = (project or "").partition("/")
    policy = Policy(Provider.WANDB, "org", "gateway")
    decision = decide(policy, Known(Principal("ann", frozenset({entity, "team"}), "team")), project)
    if isinstance(decision, Allow):
        assert decision.project.count("/") == 1
        assert decision.entity in {entity, "team"}
    _check_answer(decision, data)


def _check_answer(decision: Decision, data: bytes) -> None:
    for name, value in answer(decision, "0").lines:
        assert _LINE.fullmatch(name)
        assert _LINE.fullmatch(value.replace(b" ", b""))
    text = data.decode(errors="surrogateescape")
    value = header_value(text)
    assert _LINE.fullmatch(value)
    assert unquote(value.decode(), errors="surrogatepass") == text
