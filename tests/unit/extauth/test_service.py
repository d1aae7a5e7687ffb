"""The process: it starts, says so, counts, logs no secrets and stops."""

import asyncio
import hashlib
import json
import re
import signal
import sys

import httpx
import pytest
from igw_extauth.identity import Identity, Unavailable, Unknown
from igw_extauth.outage import MIN_SECONDS, OutageLog
from igw_extauth.settings import Settings
from igw_model.policy import Policy, Provider
from igw_ops.listening import CannotListenError
from pydantic import ValidationError
from structlog.testing import capture_logs

from tests.unit.extauth.authority import FakeAuthority, Mode, Person
from tests.unit.extauth.service import Running, running, settings

POLICY = Policy(Provider.COREWEAVE, "org-1", "gw-1")
TOKEN = "CW-SECRET-0123456789abcdef-ann"
OTHER = "CW-SECRET-fedcba9876543210-bad"
FAILING = "CW-SECRET-aaaabbbbccccdddd-out"

PROCESS = """
import sys
from igw_extauth.service import serve
from igw_extauth.settings import Settings
from igw_ops import logs, process
logs.configure("extauth", "debug")
settings = Settings.model_validate_json(sys.argv[1])
process.run(lambda stop: serve(settings, stop))
"""


async def test_it_is_ready_when_it_listens_and_gone_when_stopped(extauth: Running) -> None:
    """/readyz says ok once the servers listen; after a stop nothing listens."""
    ops = f"http://127.0.0.1:{extauth.ports.ops}"
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{ops}/readyz")).text == "ok\n"
        extauth.stop.set()
        await asyncio.sleep(0.5)
        for port in (extauth.ports.http, extauth.ports.ops, extauth.ports.grpc):
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{port}/readyz")


@pytest.mark.parametrize("transport", ["http", "grpc"])  # httpx breaks off at HTTP/2's first GOAWAY
async def test_a_check_under_way_is_answered_before_the_end(
    extauth: Running, authority: FakeAuthority, transport: str
) -> None:
    """A stop waits for the checks that are under way."""
    authority.people[TOKEN] = Person("ann", "org-1")
    authority.open.clear()
    asking = asyncio.create_task(extauth.ask(transport, POLICY, [f"Bearer {TOKEN}"]))
    while not authority.calls:  # noqa: ASYNC110 - a counter has no event
        await asyncio.sleep(0.01)
    extauth.stop.set()
    await asyncio.sleep(0.15)
    authority.open.set()
    assert (await asking).status == 200


@pytest.mark.parametrize("server", ["http", "grpc", "ops"])
async def test_a_taken_port_is_named(extauth: Running, server: str) -> None:
    """A second service on the same port says which one it cannot have, and leaves; it takes no share of it."""
    port = getattr(extauth.ports, server)
    with pytest.raises(CannotListenError, match=f"cannot listen on 127.0.0.1:{port} "):
        async with running(settings("http://127.0.0.1:1", **{f"{server}_port": port})):
            pass


async def test_two_services_live_in_one_process(extauth: Running, authority: FakeAuthority) -> None:
    """Nothing of one service stands in the way of another."""
    async with running(settings(authority.url)) as second:
        assert (await second.ask("http", POLICY, [])).status == 401
    assert (await extauth.ask("http", POLICY, [])).status == 401


@pytest.mark.parametrize("transport", ["http", "http2", "grpc"])
async def test_a_revoked_token_passes_no_more(
    extauth: Running, authority: FakeAuthority, transport: str
) -> None:
    """From the answer to the operator on, though it was remembered and its authority knows it still."""
    authority.people[TOKEN] = Person("ann", "org-1")
    assert (await extauth.ask(transport, POLICY, [f"Bearer {TOKEN}"])).status == 200
    revoked = await _revoke(extauth, json.dumps({"sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}))
    assert (revoked.status_code, revoked.content) == (204, b"")
    assert (await extauth.ask(transport, POLICY, [f"Bearer {TOKEN}"])).status == 401


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        TOKEN,
        json.dumps({"sha256": TOKEN}),
        json.dumps({"sha256": "a" * 63}),
        json.dumps({"sha256": "A" * 64}),
        json.dumps({"sha256": "a" * 64 + "\n"}),
        json.dumps({"sha256": 5}),
        json.dumps({"sha256": "a" * 64, "token": TOKEN}),
        json.dumps({"sha256": "a" * 64}) + " " * 2000,
    ],
)
async def test_what_is_no_digest_revokes_nothing(extauth: Running, content: str) -> None:
    """The answer says what to send, and nothing of what was."""
    reply = await _revoke(extauth, content)
    assert reply.status_code == 400
    assert "SHA-256" in reply.text
    assert TOKEN not in reply.text


async def _revoke(extauth: Running, content: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(f"http://127.0.0.1:{extauth.ports.ops}/revoke", content=content)


async def test_checks_are_counted(extauth: Running, authority: FakeAuthority) -> None:
    """/metrics counts checks by provider and outcome, cache hits and misses, and the authority's time.

    What names no gateway, as Envoy's health checks do, is no check.
    """
    authority.people[TOKEN] = Person("ann", "org-1")
    before = await _metrics(extauth)
    for policy, token in [(POLICY, TOKEN), (POLICY, TOKEN), (POLICY, OTHER), (None, TOKEN)]:
        await extauth.ask("http", policy, [f"Bearer {token}"])
    after = await _metrics(extauth)
    changes = {name: value - before.get(name, 0) for name, value in after.items()}
    assert {name: change for name, change in changes.items() if change} == {
        'igw_extauth_checks_total{outcome="allowed",provider="coreweave"}': 2,
        'igw_extauth_checks_total{outcome="unauthenticated",provider="coreweave"}': 1,
        "igw_extauth_check_seconds_count": 3,
        'igw_extauth_identity_cache_total{result="hit"}': 1,
        'igw_extauth_identity_cache_total{result="miss"}': 2,
        'igw_extauth_authority_seconds_count{provider="coreweave"}': 2,
        'igw_extauth_authority_calls_total{lane="new",provider="coreweave",result="known"}': 1,
        'igw_extauth_authority_calls_total{lane="new",provider="coreweave",result="unknown"}': 1,
    }


async def _metrics(extauth: Running) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{extauth.ports.ops}/metrics")).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("igw_extauth_")]
    return {name: float(value) for name, value in lines if re.search(r"_(total|count)($|{)", name)}


async def test_no_log_holds_a_token_and_an_outage_is_one_line(authority: FakeAuthority) -> None:
    """A real process, asked in every way and stopped by SIGTERM, writes no part of a token."""
    authority.people[TOKEN] = Person("ann", "org-1")
    authority.modes[FAILING] = Mode.FAILING
    given = settings(authority.url).model_dump_json()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    output = ""
    while '"listening"' not in output:
        output += (await process.stdout.readline()).decode()
    port = json.loads(output.splitlines()[-1])["http"]
    statuses = [await _statuses(port, http2=http2) for http2 in (False, True)]
    process.send_signal(signal.SIGTERM)
    output += (await process.stdout.read()).decode()
    assert (statuses, await process.wait()) == ([[200, 401, 503, 401, 401]] * 2, 0)
    assert output.count("authority_unavailable") == 1
    for token in (TOKEN, OTHER, FAILING):
        assert not [piece for piece in _pieces(token.removeprefix("CW-SECRET-"), 6) if piece in output]


async def _statuses(port: int, *, http2: bool) -> list[int]:
    base = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=base, http1=not http2, http2=http2) as client:
        headers = [*(f"Bearer {token}" for token in (TOKEN, OTHER, FAILING, FAILING + "x")), TOKEN]
        policy = {"x-igw-policy": "coreweave/org-1/gw"}
        replies = [await client.post("/v1", headers={"authorization": value, **policy}) for value in headers]
        return [reply.status_code for reply in replies]


def _pieces(text: str, length: int) -> list[str]:
    return [text[start : start + length] for start in range(len(text) - length + 1)]


def test_an_outage_is_logged_when_it_begins_and_when_it_ends() -> None:
    """Each change of state is a line, a lasting state is none, and flapping does not fill the log."""
    down, up = Unavailable("status 500"), Unknown()
    times: list[tuple[float, Identity]] = [
        (0, up),
        (1, down),
        (2, down),
        (3, up),
        (4, down),
        (1 + MIN_SECONDS, up),
        (2 + 2 * MIN_SECONDS, up),
        (3 + 2 * MIN_SECONDS, down),
    ]
    with capture_logs() as lines:
        log = OutageLog("coreweave")
        for now, identity in times:
            log.note(identity, now)
    assert [(line["event"], line.get("reason")) for line in lines] == [
        ("authority_unavailable", "status 500"),
        ("authority_available", None),
        ("authority_unavailable", "status 500"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("coreweave_whoami_url", "ftp://x/y", "http:// or https://"),
        ("coreweave_whoami_url", "api.coreweave.com/whoami", "http:// or https://"),
        ("wandb_graphql_url", "https:///graphql", "http:// or https://"),
        ("wandb_graphql_url", "https://u:p@api.wandb.ai/graphql", "no user"),
        ("http_port", 70000, "65535"),
        ("cache_seconds", 0, "greater than 0"),
        ("cache_entries", 0, "greater than or equal to 1"),
        ("cache_minutes", 1, "not permitted"),
        ("cache_url", "http://:pass-word@x", "redis://"),
        ("cache_url", "redis://:pass-word\u2100@x", "redis://"),
        ("cache_url", "redis://x:pass-word#y@z", "redis://"),
        ("cache_url", "redis://x:0", "redis://"),
        ("workers", 0, "greater than or equal to 1"),
        ("concurrency", 0, "greater than or equal to 1"),
        ("lease_seconds", 1, "greater than or equal to 3"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: object, text: str) -> None:
    """A setting that cannot be fails before anything starts, with its name and what it must be."""
    with pytest.raises(ValidationError, match=text) as failure:
        Settings.model_validate({name: value})
    assert failure.value.errors()[0]["loc"] == (name,)
    assert "pass-word" not in str(failure.value)
