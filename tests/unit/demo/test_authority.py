"""The local authority answers as the real ones are documented to (docs/inference-api.md, section 5)."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from igw_demo.authority import AuthoritySettings, authority_app, serve_authority
from igw_demo.serving import running
from igw_demo.tokens import CoreWeaveToken, DemoTokens, WandbToken, demo_tokens, token_document

NUMBERS = itertools.count()
TOKENS = demo_tokens(lambda size: f"{next(NUMBERS):0{size}}")
VIEWER = {"query": "query { viewer { id entity username teams { edges { node { name } } } } }"}


@pytest.fixture
async def authority() -> AsyncIterator[httpx.AsyncClient]:
    async with running(authority_app(TOKENS.all())) as address:  # noqa: SIM117 - two lifetimes
        async with httpx.AsyncClient(base_url=address.url) as client:
            yield client


async def whoami(authority: httpx.AsyncClient, token: str) -> tuple[int, Any]:
    reply = await authority.get("/v1beta1/auth/whoami", headers={"authorization": f"Bearer {token}"})
    return reply.status_code, reply.json()


async def viewer(authority: httpx.AsyncClient, key: str, user: str = "api") -> tuple[int, Any]:
    reply = await authority.post("/graphql", json=VIEWER, auth=(user, key))
    return reply.status_code, reply.json()


async def test_whoami(authority: httpx.AsyncClient) -> None:
    """A good bearer token is answered with its principal, another organisation's with that organisation's."""
    (other,) = (token for token in TOKENS.others if isinstance(token, CoreWeaveToken))
    good = await whoami(authority, TOKENS.coreweave.token)
    assert good == (200, {"principal": {"uid": "demo-user", "orgUid": "demo-org"}})
    assert (await whoami(authority, other.token))[1]["principal"]["orgUid"] == "other-org"


async def test_whoami_refuses(authority: httpx.AsyncClient) -> None:
    """No token, an unknown one, or one of the other authority is 401."""
    missing = await authority.get("/v1beta1/auth/whoami")
    wrong = [await whoami(authority, token) for token in ("CW-SECRET-none", TOKENS.wandb.token, "x")]
    assert [missing.status_code, *(status for status, _ in wrong)] == [401] * 4


async def test_viewer(authority: httpx.AsyncClient) -> None:
    """A good key is answered with its viewer."""
    assert await viewer(authority, TOKENS.wandb.token) == (
        200,
        {
            "data": {
                "viewer": {
                    "id": "VXNlcjpkZW1vLXVzZXI=",
                    "entity": "demo-org",
                    "username": "demo-user",
                    "teams": {"edges": [{"node": {"name": "demo-org"}}]},
                }
            }
        },
    )


async def test_null_viewer(authority: httpx.AsyncClient) -> None:
    """A bad key, a user other than `api`, a bearer token, or nothing is a null viewer with 200."""
    headers = {"authorization": f"Bearer {TOKENS.wandb.token}"}
    answers = [
        await viewer(authority, "x" * 40),
        await viewer(authority, TOKENS.coreweave.token),
        await viewer(authority, TOKENS.wandb.token, user="someone"),
        (200, (await authority.post("/graphql", json=VIEWER, headers=headers)).json()),
        (200, (await authority.post("/graphql", json=VIEWER)).json()),
    ]
    assert answers == [(200, {"data": {"viewer": None}})] * 5


async def test_viewer_has_only_what_was_asked_for(authority: httpx.AsyncClient) -> None:
    """As in GraphQL, a field that the query does not name is not in the answer; another query is 400."""
    auth = ("api", TOKENS.wandb.token)
    reply = await authority.post("/graphql", json={"query": "{ viewer { username } }"}, auth=auth)
    assert reply.json() == {"data": {"viewer": {"username": "demo-user"}}}
    bodies: tuple[Any, ...] = ({"query": "{ me }"}, {}, [])
    for body in bodies:
        assert (await authority.post("/graphql", json=body, auth=auth)).status_code == 400


async def test_calls(authority: httpx.AsyncClient) -> None:
    """Calls are counted, so that a test can prove what a cache saved."""
    assert (await authority.get("/demo/calls")).json() == {"whoami": 0, "graphql": 0}
    await whoami(authority, "a")
    await viewer(authority, "b")
    await whoami(authority, TOKENS.coreweave.token)
    assert (await authority.get("/demo/calls")).json() == {"whoami": 2, "graphql": 1}


async def test_tokens_come_and_go(authority: httpx.AsyncClient) -> None:
    """A test may add a token and revoke one."""
    new = CoreWeaveToken("CW-SECRET-new", "new-user", "demo-org")
    change = {"add": [token_document(new)], "revoke": [TOKENS.wandb.token, "unknown"]}
    assert (await authority.post("/demo/tokens", json=change)).json() == {"tokens": 4}
    assert (await whoami(authority, new.token))[1] == {"principal": {"uid": "new-user", "orgUid": "demo-org"}}
    assert await viewer(authority, TOKENS.wandb.token) == (200, {"data": {"viewer": None}})


async def test_faults(authority: httpx.AsyncClient) -> None:
    """A test may make the authority fail or slow, and well again."""
    await authority.post("/demo/fault", json={"status": 503, "delay_ms": 50})
    begin = asyncio.get_running_loop().time()
    assert (await whoami(authority, TOKENS.coreweave.token))[0] == 503
    assert asyncio.get_running_loop().time() - begin >= 0.05
    assert (await viewer(authority, TOKENS.wandb.token))[0] == 503
    await authority.post("/demo/fault", json={})
    assert (await whoami(authority, TOKENS.coreweave.token))[0] == 200


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/demo/tokens", {"add": [{"token": "x"}]}),
        ("/demo/tokens", {"added": []}),
        ("/demo/tokens", []),
        ("/demo/fault", {"status": 200}),
        ("/demo/fault", {"delay_ms": -1}),
    ],
)
async def test_control_is_checked(authority: httpx.AsyncClient, path: str, document: Any) -> None:
    """A control request that makes no sense is 400 and changes nothing."""
    assert (await authority.post(path, json=document)).status_code == 400


async def test_web_pages_have_no_control(authority: httpx.AsyncClient) -> None:
    """A body without the JSON content type, which any web page may send to loopback, is refused."""
    for headers in ({"content-type": "text/plain"}, {}):
        assert (await authority.post("/demo/tokens", content=b"{}", headers=headers)).status_code == 400


async def test_serves_the_tokens_of_a_file(tmp_path: Path) -> None:
    """`serve_authority` knows the tokens of its file, and ends when it is asked to."""
    TOKENS.save(tmp_path / "tokens.json")
    async with running(authority_app([])) as taken:
        port = taken.port
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_authority(AuthoritySettings(tmp_path / "tokens.json", port=port), stop))
        await asyncio.sleep(0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await whoami(client, TOKENS.coreweave.token))[0] == 200
        stop.set()


def test_shapes() -> None:
    """Tokens differ, look like the real ones, and those of the other organisation are of both kinds."""
    tokens = DemoTokens.all(TOKENS)
    assert len({token.token for token in tokens}) == 4
    assert {type(token) for token in TOKENS.others} == {CoreWeaveToken, WandbToken}
    assert TOKENS.coreweave.token.startswith("CW-SECRET-")
    assert len(TOKENS.wandb.token) >= 40
