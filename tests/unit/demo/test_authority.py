"""The local authority answers as the real ones are documented to (docs/inference-api.md, section 5)."""

import asyncio
import contextlib
import itertools
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from igw_demo.authority import AuthoritySettings, authority_app, serve_authority
from igw_demo.faults import Call, Faults, fault_of
from igw_demo.serving import running
from igw_demo.tokens import CoreWeaveToken, DemoTokens, WandbToken, demo_tokens, token_document

from tests.ports import free_port

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


async def calls(authority: httpx.AsyncClient) -> dict[str, int]:
    counts: dict[str, int] = (await authority.get("/demo/calls")).json()
    return counts


async def fault(authority: httpx.AsyncClient, **document: Any) -> None:
    (await authority.post("/demo/fault", json=document)).raise_for_status()


async def limits(authority: httpx.AsyncClient, token: str = "", **project: str) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    reply = await authority.get("/limits", params=project, headers=headers)
    return reply.status_code, reply.json()


async def test_calls(authority: httpx.AsyncClient) -> None:
    """Calls are counted, so that a test can prove what a cache saved; the counts can begin anew."""
    nothing = dict.fromkeys(
        (*Call, "redirected", "under_way", "most_at_once", "most_of_one_token"),
        0,
    )
    assert await calls(authority) == nothing
    await whoami(authority, "a")
    await viewer(authority, "b")
    await whoami(authority, TOKENS.coreweave.token)
    counted = {"whoami": 2, "graphql": 1, "most_at_once": 1, "most_of_one_token": 1}
    assert await calls(authority) == nothing | counted
    assert (await authority.delete("/demo/calls")).json() == nothing == await calls(authority)


async def test_calls_under_way(authority: httpx.AsyncClient) -> None:
    """It counts the calls that wait for an answer now, the most that did at once, and the most of one token."""
    await fault(authority, delay_ms=60_000)
    asking = [asyncio.ensure_future(whoami(authority, token)) for token in ("a", "a", "b")]
    await until(authority, "under_way", 3)
    for call in asking:
        call.cancel()
    await until(authority, "under_way", 0)
    await fault(authority)
    await whoami(authority, "a")
    counts = await calls(authority)
    assert (counts["most_at_once"], counts["most_of_one_token"]) == (3, 2)


async def until(authority: httpx.AsyncClient, key: str, value: int) -> dict[str, int]:
    """Give the counts, once one of them has a value."""
    async with asyncio.timeout(5):
        while (counts := await calls(authority))[key] != value:  # noqa: ASYNC110 - a count over HTTP has no event
            await asyncio.sleep(0.005)
    return counts


async def test_tokens_come_and_go(authority: httpx.AsyncClient) -> None:
    """A test may add a token and revoke one."""
    new = CoreWeaveToken("CW-SECRET-new", "new-user", "demo-org")
    change = {"add": [token_document(new)], "revoke": [TOKENS.wandb.token, "unknown"]}
    assert (await authority.post("/demo/tokens", json=change)).json() == {"tokens": 4}
    assert (await whoami(authority, new.token))[1] == {"principal": {"uid": "new-user", "orgUid": "demo-org"}}
    assert await viewer(authority, TOKENS.wandb.token) == (200, {"data": {"viewer": None}})


async def test_faults(authority: httpx.AsyncClient) -> None:
    """A test may make the authority fail or slow, and well again."""
    await fault(authority, status=503, delay_ms=50)
    begin = asyncio.get_running_loop().time()
    assert (await whoami(authority, TOKENS.coreweave.token))[0] == 503
    assert asyncio.get_running_loop().time() - begin >= 0.05
    assert (await viewer(authority, TOKENS.wandb.token))[0] == 503
    await fault(authority)
    assert (await whoami(authority, TOKENS.coreweave.token))[0] == 200


async def test_one_token_and_one_call_fail(authority: httpx.AsyncClient) -> None:
    """A fault may be for some tokens alone, or for some calls; one for a token goes before one for all."""
    good = TOKENS.coreweave.token
    await fault(authority, kind="status", status=500, tokens=["bad"])
    assert [(await whoami(authority, token))[0] for token in (good, "bad")] == [200, 500]
    await fault(authority, kind="status", status=502, calls=["whoami"])
    await fault(authority, kind="slow", tokens=[good])
    assert [(await whoami(authority, token))[0] for token in (good, "bad", "x")] == [200, 500, 502]
    assert (await viewer(authority, TOKENS.wandb.token))[0] == 200


async def test_flapping(authority: httpx.AsyncClient) -> None:
    """It fails the first N of each M calls."""
    await fault(authority, kind="flapping", fails=2, of=3)
    statuses = [(await whoami(authority, TOKENS.coreweave.token))[0] for _ in range(6)]
    assert statuses == [503, 503, 200] * 2


async def test_invalid(authority: httpx.AsyncClient) -> None:
    """It answers as if it knew no token, or not some of them."""
    await fault(authority, kind="invalid", tokens=[TOKENS.coreweave.token])
    assert (await whoami(authority, TOKENS.coreweave.token))[0] == 401
    assert (await viewer(authority, TOKENS.wandb.token))[1]["data"]["viewer"] is not None
    await fault(authority, kind="invalid")
    assert await viewer(authority, TOKENS.wandb.token) == (200, {"data": {"viewer": None}})


async def test_redirecting(authority: httpx.AsyncClient) -> None:
    """It redirects, to itself unless told otherwise, and counts who follows."""
    ask = {"headers": {"authorization": f"Bearer {TOKENS.coreweave.token}"}}
    await fault(authority, kind="redirect")
    reply = await authority.get("/v1beta1/auth/whoami", **ask)  # type: ignore[arg-type] # headers
    assert (reply.status_code, reply.headers["location"]) == (307, "/demo/redirected")
    assert (await calls(authority))["redirected"] == 0
    await authority.get("/v1beta1/auth/whoami", follow_redirects=True, **ask)  # type: ignore[arg-type] # headers
    assert (await calls(authority))["redirected"] == 1
    await fault(authority, kind="redirect", status=302, location="http://example.com/")
    reply = await authority.post("/graphql", json=VIEWER)
    assert (reply.status_code, reply.headers["location"]) == (302, "http://example.com/")


async def test_rubbish(authority: httpx.AsyncClient) -> None:
    """It answers 200 with JSON of no known shape, or with any text."""
    await fault(authority, kind="wrong_json")
    assert await whoami(authority, TOKENS.coreweave.token) == await viewer(authority, "x")
    await fault(authority, kind="wrong_json", body="{")
    assert (await authority.get("/v1beta1/auth/whoami")).text == "{"


async def test_huge(authority: httpx.AsyncClient) -> None:
    """It answers 200 with a body as large as wished, of no length that is told before."""
    await fault(authority, kind="huge", size=3_000_000)
    reply = await authority.get("/v1beta1/auth/whoami")
    assert (reply.status_code, len(reply.json()), reply.headers.get("content-length")) == (
        200,
        3_000_000,
        None,
    )


async def test_hanging_up(authority: httpx.AsyncClient) -> None:
    """It closes the connection before the answer's end, and goes on afterwards."""
    await fault(authority, kind="hang_up")
    with pytest.raises(httpx.RemoteProtocolError):
        await whoami(authority, TOKENS.coreweave.token)
    await fault(authority)
    assert (await whoami(authority, TOKENS.coreweave.token))[0] == 200


async def test_limits(authority: httpx.AsyncClient) -> None:
    """What a project may is what it was given, else what all may; there may be no such project."""
    one = {"entity": "demo-org", "project": "one"}
    generous = {"concurrency": 100, "requestsPerMinute": 60_000, "tokensPerMinute": 10_000_000}
    assert await limits(authority, **one) == (200, generous)
    given = {"concurrency": 8, "requestsPerMinute": 60, "tokensPerMinute": 1000, "quotaTokens": 1}
    for change in (
        {"limits": {"concurrency": 3, "quotaTokens": None}},
        one | {"limits": given | {"quotaUsedUp": False}},
        one | {"project": "none"},
    ):
        (await authority.put("/demo/limits", json=change)).raise_for_status()
    assert await limits(authority, **one) == (200, given | {"quotaUsedUp": False})
    assert await limits(authority, entity="demo-org", project="two") == (
        200,
        {"concurrency": 3, "quotaTokens": None},
    )
    assert (await limits(authority, entity="demo-org", project="none"))[0] == 404
    assert [(await limits(authority, **named))[0] for named in ({"entity": "e"}, one | {"project": ""})] == [
        400,
        400,
    ]
    assert (await calls(authority))["limits"] == 6


async def test_limits_are_for_the_service(authority: httpx.AsyncClient) -> None:
    """With a service token set, nobody else may ask; a user's token is not one."""
    one = {"entity": "demo-org", "project": "one"}
    (await authority.put("/demo/service-token", json={"token": "s3rvice"})).raise_for_status()
    tokens = ("s3rvice", "", "other", TOKENS.wandb.token)
    assert [(await limits(authority, token, **one))[0] for token in tokens] == [200, 401, 401, 401]


async def test_limits_fail_by_themselves(authority: httpx.AsyncClient) -> None:
    """A fault of the limits is none of the identities, and the other way round."""
    one = {"entity": "demo-org", "project": "one"}
    await fault(authority, status=503, calls=["limits"])
    assert (await limits(authority, **one))[0] == 503
    assert (await whoami(authority, TOKENS.coreweave.token))[0] == 200
    await fault(authority)
    await fault(authority, status=503)
    assert (await limits(authority, **one))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "document", "wrong"),
    [
        ("POST", "/demo/tokens", {"add": [{"token": "x"}]}, "a token is"),
        ("POST", "/demo/tokens", {"added": []}, "unknown field `added`"),
        ("POST", "/demo/tokens", [], "Expected `object`"),
        ("POST", "/demo/fault", [], "a fault is an object"),
        ("POST", "/demo/fault", {"status": 200}, r"`int` >= 400 - at `\$.status`"),
        ("POST", "/demo/fault", {"delay_ms": -1}, r"\$.delay_ms"),
        ("POST", "/demo/fault", {"kind": "odd"}, "Invalid value 'odd'"),
        ("POST", "/demo/fault", {"kind": "slow", "staus": 503}, "unknown field `staus`"),
        ("POST", "/demo/fault", {"status": 503, "calls": ["nobody"]}, r"\$.calls"),
        ("POST", "/demo/fault", {"kind": "flapping", "of": 3}, "missing required field `fails`"),
        ("POST", "/demo/fault", {"kind": "flapping", "fails": 4, "of": 3}, "`fails` must not be more"),
        ("POST", "/demo/fault", {"kind": "redirect", "status": 200}, r"\$.status"),
        ("PUT", "/demo/limits", {"limits": {"concurency": 1}}, "unknown field `concurency`"),
        ("PUT", "/demo/limits", {"limits": {"quotaTokens": -1}}, r"\$.limits.quotaTokens"),
        ("PUT", "/demo/limits", {"project": "p"}, "go together"),
        ("PUT", "/demo/service-token", {}, "`token`"),
    ],
)
async def test_control_is_checked(
    authority: httpx.AsyncClient, method: str, path: str, document: Any, wrong: str
) -> None:
    """A control request that makes no sense is 400, says what is wrong, and changes nothing."""
    reply = await authority.request(method, path, json=document)
    assert reply.status_code == 400
    assert re.search(wrong, reply.json()["message"]), reply.text
    assert (await whoami(authority, TOKENS.coreweave.token))[0] == 200


async def test_web_pages_have_no_control(authority: httpx.AsyncClient) -> None:
    """A body without the JSON content type, which any web page may send to loopback, is refused."""
    for headers in ({"content-type": "text/plain"}, {}):
        assert (await authority.post("/demo/tokens", content=b"{}", headers=headers)).status_code == 400


async def test_serves_the_tokens_of_a_file(tmp_path: Path) -> None:
    """`serve_authority` knows the tokens of its files, and ends when it is asked to."""
    TOKENS.save(tmp_path / "tokens.json")
    (tmp_path / "service").write_text("s3rvice\n")
    port = free_port()
    settings = AuthoritySettings(tmp_path / "tokens.json", port=port, service_token_file=tmp_path / "service")
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_authority(settings, stop))
        await asyncio.sleep(0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await whoami(client, TOKENS.coreweave.token))[0] == 200
            assert (await limits(client, "s3rvice", entity="e", project="p"))[0] == 200
            assert (await limits(client, entity="e", project="p"))[0] == 401
        stop.set()


async def test_the_command_keeps_limits_for_who_has_the_service_token(tmp_path: Path) -> None:
    """`igw demo authority --service-token-file` answers others 401."""
    (tmp_path / "service").write_text("s3rvice\n")
    port = free_port()
    files = (
        "--tokens-file",
        str(tmp_path / "tokens.json"),
        "--service-token-file",
        str(tmp_path / "service"),
    )
    command = (sys.executable, "-m", "igw_cli", "demo", "authority", "--port", str(port), *files)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(20), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while True:
                with contextlib.suppress(httpx.ConnectError):
                    assert (await limits(client, "s3rvice", entity="e", project="p"))[0] == 200
                    break
                await asyncio.sleep(0.05)
            assert (await limits(client, entity="e", project="p"))[0] == 401
    finally:
        process.kill()
        await process.wait()


def test_shapes() -> None:
    """Tokens differ, look like the real ones, and those of the other organisation are of both kinds."""
    tokens = DemoTokens.all(TOKENS)
    assert len({token.token for token in tokens}) == 4
    assert {type(token) for token in TOKENS.others} == {CoreWeaveToken, WandbToken}
    assert TOKENS.coreweave.token.startswith("CW-SECRET-")
    assert len(TOKENS.wandb.token) >= 40


def test_faults_show_no_tokens() -> None:
    """No `repr` of a fault has the tokens that it is for; those in force are counted by call and token."""
    found = fault_of({"status": 503, "tokens": ["s3cret", "s3cret-too"]})
    faults = Faults()
    faults.change(found)
    assert (len(faults), "s3cret" in repr((found, faults))) == (4, False)
