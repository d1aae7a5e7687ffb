"""Who calls: tokens and roles, from the header on the wire and from the roles' file."""

import os
from pathlib import Path

import pytest
from igw_api.authentication import Authentication, LocalAdmin, Principal, nobody
from igw_api.caller import Caller, Role
from igw_api.failure import Code, RefusedError
from igw_api.roles import Roles, RolesError, RolesFile, load
from structlog.testing import capture_logs

from tests.unit.api.installation import ADMIN, DOWN, STRANGER, Installation


async def test_no_usable_token_is_unauthenticated(api: Installation) -> None:
    """401 with a challenge for no header, another scheme, no token, and a token of nobody."""
    for header in ({}, {"authorization": "Basic eA=="}, {"authorization": "Bearer"}):
        response = await api.client.get("/v1alpha1/inference/gateways", headers=header)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert response.json() == {
            "code": "unauthenticated",
            "message": "send one header `Authorization: Bearer <token>`",
            "details": [],
        }
    answer = await api.call("GET", "/gateways", token="nobodys")
    assert (answer.status, answer.body["message"]) == (401, "the token is not valid here")


async def test_two_tokens_are_none(api: Installation) -> None:
    """Which of two headers another would read is unknown, so neither counts."""
    headers = [("authorization", f"Bearer {ADMIN}"), ("authorization", "Bearer other")]
    response = await api.client.get("/v1alpha1/inference/gateways", headers=headers)
    assert response.status_code == 401


async def test_a_stranger_may_nothing(api: Installation) -> None:
    """Who is known and has no role is `permission_denied`, reading too: the default is to deny."""
    answer = await api.call("GET", "/gateways", token=STRANGER)
    assert (answer.status, answer.body["code"], answer.body["message"]) == (
        403,
        "permission_denied",
        "principal stranger-3 of strangers has no role here",
    )


async def test_an_authority_that_is_silent_is_unavailable(api: Installation) -> None:
    """503 with `Retry-After`: an outage says nothing of the token."""
    answer = await api.call("GET", "/gateways", token=DOWN)
    assert (answer.status, answer.body["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")


async def test_nothing_is_read_before_the_caller_is_known(api: Installation) -> None:
    """A stranger's broken body is not looked at."""
    response = await api.client.post("/v1alpha1/inference/gateways", content=b"{")
    assert response.status_code == 401


async def knows(token: str) -> Principal | None:
    """Know one token."""
    return Principal("uid-1", "acme") if token == "good" else None


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (Roles(), None),
        (Roles(organizations={"acme": "viewer"}), Role.VIEWER),
        (Roles(principals={"uid-1": "admin"}), Role.ADMIN),
        (Roles(principals={"uid-1": "operator"}, organizations={"acme": "viewer"}), Role.OPERATOR),
        (Roles(principals={"uid-1": "viewer"}, organizations={"acme": "admin"}), Role.VIEWER),
        (Roles(principals={"acme": "admin"}, organizations={"uid-1": "admin"}), None),
    ],
)
async def test_a_principals_role_counts_before_its_organisations(roles: Roles, role: Role | None) -> None:
    """Roles are by principal, then by organisation; who has none is refused."""
    authenticate = Authentication(knows, lambda: roles)
    if role is not None:
        assert await authenticate(["Bearer good"]) == Caller("uid-1", "acme", role)
        return
    with pytest.raises(RefusedError) as refused:
        await authenticate(["Bearer good"])
    assert refused.value.code is Code.PERMISSION_DENIED


async def test_the_local_admin_is_one_token() -> None:
    """The local token is an operator's, whatever the roles; no other token is, and it is kept nowhere."""
    local = LocalAdmin("local-token", "acme")
    authenticate = Authentication(nobody, Roles, local)
    assert await authenticate(["bearer local-token"]) == Caller("local-admin", "acme", Role.OPERATOR)
    for token in ("local-tokeN", "local-toke", "local-token2"):
        with pytest.raises(RefusedError):
            await authenticate([f"Bearer {token}"])
    assert "local-token" not in repr([getattr(local, name) for name in vars(local)])


def write(path: Path, text: str) -> Path:
    """Write a file, its time surely another than before."""
    path.write_text(text, encoding="utf-8")
    before = path.stat().st_mtime_ns
    os.utime(path, ns=(before, before + len(text) + 1))
    return path


def test_a_changed_roles_file_counts_at_once(tmp_path: Path) -> None:
    """The file is read again when it changes; a broken edit is logged and changes nothing."""
    roles = RolesFile(write(tmp_path / "roles.yaml", "principals: {uid-1: viewer}"))
    assert roles() == Roles(principals={"uid-1": "viewer"})
    write(tmp_path / "roles.yaml", "principals: {uid-1: admin, uid-2: viewer}")
    assert roles() == Roles(principals={"uid-1": "admin", "uid-2": "viewer"})
    with capture_logs() as lines:
        write(tmp_path / "roles.yaml", "principals: {uid-1: emperor}")
        assert roles() == roles() == Roles(principals={"uid-1": "admin", "uid-2": "viewer"})
        (tmp_path / "roles.yaml").unlink()
        assert roles() == Roles(principals={"uid-1": "admin", "uid-2": "viewer"})
    assert [line["error"].partition(": ")[2] for line in lines] == [
        "principals.uid-1: must be one of 'viewer', 'admin' or 'operator'",
        "cannot be read: No such file or directory",
    ]
    write(tmp_path / "roles.yaml", "{}")
    assert roles() == Roles()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty: write {} for no roles"),
        ("principals: [", "is no YAML"),
        ("principals: {a: !!bool maybe}", "is no YAML: this is no bool"),
        ("[]", "must be an object"),
        ("teams: {}", "teams: unknown field"),
        ("organizations: {acme: operator}", "organizations.acme: must be one of 'viewer' or 'admin'"),
    ],
)
def test_a_roles_file_that_says_nothing_sound_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """At the start there is nothing to fall back to: the error names the file and why."""
    with pytest.raises(RolesError, match=reason):
        load(write(tmp_path / "roles.yaml", text))
