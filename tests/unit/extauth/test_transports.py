"""One decision over all transports: the real service, asked over HTTP/1.1, HTTP/2 and gRPC."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio
from igw_extauth.keeper import Admission, Admitted, Exceeded, Held, Level, Levels
from igw_extauth.settings import Settings
from igw_extauth.wire.front import Front, listening
from igw_model.openai import ApiError
from igw_model.policy import Access, Policy, Provider, policy_text

from tests.unit.extauth.authority import FakeAuthority, Mode, Person, fake_authority
from tests.unit.extauth.scene import Counter
from tests.unit.extauth.service import Envoy, Running, Told, asking, running, settings

COREWEAVE = Policy(Provider.COREWEAVE, "org-1", "gw-1")
WANDB = Policy(Provider.WANDB, "org-2", "gw-2")
TEAM_A = Policy(Provider.WANDB, "org-2", "gw-2", Access.ENTITIES, ("team-a", "team-c"))
PENDING = Policy(Provider.WANDB, "org-2", "gw-2", Access.PENDING)
LIMITED = Policy(Provider.WANDB, "org-2", "gw-2", limited=True)
JSON = {"content-type": "application/json"}
CHALLENGED = {**JSON, "www-authenticate": "Bearer"}


def denied(error: ApiError, headers: dict[str, str]) -> Told:
    """Give what Envoy is told for an error."""
    return Told(error.status, headers, error.body().decode())


SHORT = "(8 digits)"


def admitted(principal: str, organization: str, project: str = "") -> Told:
    """Give what Envoy is told for one who may pass."""
    told = {"x-igw-principal": principal, "x-igw-organization": organization, "x-igw-token": SHORT}
    if project:
        told |= {"x-igw-entity": project.partition("/")[0], "x-igw-project": project}
    return Told(200, told)


def shortened(told: Told) -> Told:
    """Give an answer without what each process says in its own way."""
    short = told.headers.get("x-igw-token")
    if short is None:
        return told
    assert re.fullmatch("[0-9a-f]{8}", short)
    return Told(told.status, {**told.headers, "x-igw-token": SHORT}, told.body)


NO_GATEWAY = denied(ApiError(404, "unknown_gateway", "There is no gateway at this host."), JSON)
NO_KEY = denied(
    ApiError(401, "missing_api_key", "No usable API key: send one header `Authorization: Bearer <key>`."),
    CHALLENGED,
)
BAD_KEY = denied(ApiError(401, "invalid_api_key", "The API key is not valid here."), CHALLENGED)
OTHERS = denied(
    ApiError(403, "organization_mismatch", "The API key belongs to another organization than this gateway."),
    JSON,
)
BAD_PROJECT = denied(
    ApiError(400, "invalid_project", "The header OpenAI-Project must be <team>/<project>.", "OpenAI-Project"),
    JSON,
)
OTHER_PROJECT = denied(
    ApiError(
        403,
        "project_mismatch",
        "The header OpenAI-Project must name a team of the API key's user.",
        "OpenAI-Project",
    ),
    JSON,
)
LATER = denied(
    ApiError(503, "auth_unavailable", "The API key cannot be checked at the moment; try again."),
    {**JSON, "retry-after": "1"},
)


def cw(name: str) -> str:
    """Give a token of CoreWeave's shape."""
    return f"CW-SECRET-{name}"


def wb(name: str) -> str:
    """Give a key of W&B's shape."""
    return name.ljust(40, "_")


@dataclass(frozen=True, slots=True)
class Case:
    """A question and its answer."""

    policy: Policy | None
    authorization: tuple[str, ...]
    told: Told
    projects: tuple[str, ...] = ()


def bearer(token: str) -> tuple[str, ...]:
    """Give the values of ``Authorization`` for a token."""
    return (f"Bearer {token}",)


ANN = admitted("ann", "org-1")
EVE = admitted("eve-name", "org-2", "eve/inference")
CASES = {
    "member": Case(COREWEAVE, bearer(cw("ann")), ANN),
    "member, scheme in lower case": Case(COREWEAVE, (f"bearer  {cw('ann')}",), ANN),
    "odd name": Case(COREWEAVE, bearer(cw("odd")), admitted("%E2%82%AC%0D%0A%25%20x", "org-1")),
    "odd organization": Case(
        Policy(Provider.COREWEAVE, "a/b %2F?", "gw"), bearer(cw("slash")), admitted("s", "a/b%20%252F?")
    ),
    "other organization": Case(COREWEAVE, bearer(cw("bob")), OTHERS),
    "unknown token": Case(COREWEAVE, bearer(cw("nobody")), BAD_KEY),
    "W&B key at a CoreWeave gateway": Case(COREWEAVE, bearer(wb("eve")), BAD_KEY),
    "CoreWeave token at a W&B gateway": Case(WANDB, bearer(cw("ann")), BAD_KEY),
    "W&B, any key": Case(WANDB, bearer(wb("eve")), EVE),
    "W&B, named entity": Case(
        Policy(Provider.WANDB, "org-2", "gw-2", Access.ENTITIES, ("eve",)), bearer(wb("eve")), EVE
    ),
    "W&B, named team": Case(TEAM_A, bearer(wb("eve")), EVE),
    "W&B, user name is no entity": Case(
        Policy(Provider.WANDB, "org-2", "gw-2", Access.ENTITIES, ("eve-name",)), bearer(wb("eve")), OTHERS
    ),
    "W&B, none of the named": Case(TEAM_A, bearer(wb("mallory")), OTHERS),
    "W&B, nobody is named": Case(
        Policy(Provider.WANDB, "org-2", "gw-2", Access.ENTITIES), bearer(wb("eve")), OTHERS
    ),
    "W&B, pending": Case(PENDING, bearer(wb("eve")), LATER),
    "W&B, pending, unknown key": Case(PENDING, bearer(wb("nobody")), BAD_KEY),
    "W&B, project of a team": Case(
        TEAM_A, bearer(wb("eve")), admitted("eve-name", "org-2", "team-b/p-1"), ("team-b/p-1",)
    ),
    "W&B, project of one's own": Case(
        WANDB, bearer(wb("eve")), admitted("eve-name", "org-2", "eve/x%25"), ("eve/x%",)
    ),
    "W&B, project of another team": Case(WANDB, bearer(wb("eve")), OTHER_PROJECT, ("team-aa/p",)),
    "W&B, project in another case": Case(WANDB, bearer(wb("eve")), OTHER_PROJECT, ("Team-A/p",)),
    "W&B, project outside ASCII": Case(WANDB, bearer(wb("zoe")), OTHER_PROJECT, ("zoé/p",)),
    **{
        f"W&B, {text!r} is no project": Case(WANDB, bearer(wb("eve")), BAD_PROJECT, (text,))
        for text in ("eve", "eve/", "/p", "eve/p/q", "eve/p q", "eve/p,eve/q", "e" * 129 + "/p")
    },
    "W&B, two projects": Case(WANDB, bearer(wb("eve")), BAD_PROJECT, ("eve/p", "eve/p")),
    "W&B, empty project": Case(WANDB, bearer(wb("eve")), EVE, ("",)),
    "CoreWeave knows no projects": Case(COREWEAVE, bearer(cw("ann")), ANN, ("eve/p",)),
    "W&B null viewer": Case(WANDB, bearer(wb("nobody")), BAD_KEY),
    "W&B key too short": Case(WANDB, bearer("a" * 39), BAD_KEY),
    "W&B key too long": Case(WANDB, bearer("a" * 513), BAD_KEY),
    "W&B key with other characters": Case(WANDB, bearer("a" * 39 + "."), BAD_KEY),
    "no header": Case(COREWEAVE, (), NO_KEY),
    "no header, W&B": Case(WANDB, (), NO_KEY),
    "empty token": Case(COREWEAVE, ("Bearer",), NO_KEY),
    "other scheme": Case(COREWEAVE, ("Basic YTpi",), NO_KEY),
    "two headers": Case(COREWEAVE, (*bearer(cw("ann")), *bearer(cw("bob"))), NO_KEY),
    "two tokens in one header": Case(COREWEAVE, (f"Bearer {cw('ann')},Bearer {cw('bob')}",), NO_KEY),
    "8 KiB token": Case(COREWEAVE, bearer(cw("a" * 8192)), NO_KEY),
    "no gateway": Case(None, bearer(cw("ann")), NO_GATEWAY),
    "no gateway and no token": Case(None, (), NO_GATEWAY),
    **{
        f"{provider.provider}: authority is {mode.name}": Case(provider, bearer(shape(mode.name)), LATER)
        for provider, shape in ((COREWEAVE, cw), (WANDB, wb))
        for mode in Mode
        if mode is not Mode.TRUE
    },
}
SLOW = {bearer(shape(Mode.SLOW.name)) for shape in (cw, wb)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake() -> AsyncIterator[FakeAuthority]:
    """Run one authority for all cases; a token says how it is treated."""
    async with fake_authority() as authority:
        authority.people |= {
            cw("ann"): Person("ann", "org-1"),
            cw("bob"): Person("bob", "org-2"),
            cw("odd"): Person("€\r\n% x", "org-1"),
            cw("slash"): Person("s", "a/b %2F?"),
            wb("eve"): Person("eve-name", "eve", ("team-a", "team-b")),
            wb("zoe"): Person("zoe", "zoé"),
            wb("mallory"): Person("mallory", "mallory", ("team-aa", "team-b")),
            cw("SLOW"): Person("slow", "org-1"),
            wb("SLOW"): Person("slow", "team-a"),
        }
        authority.modes |= {shape(mode.name): mode for shape in (cw, wb) for mode in Mode}
        yield authority


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(fake: FakeAuthority) -> AsyncIterator[Running]:
    """Run one extauth for all cases."""
    async with running(settings(fake.url)) as extauth:
        yield extauth


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(fake: FakeAuthority) -> AsyncIterator[Running]:
    """Run another, which gives an authority half of the time that a slow one takes."""
    async with running(settings(fake.url, authority_timeout_seconds=0.4)) as extauth:
        yield extauth


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("transport", ["http", "http2", "grpc"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_all_transports_tell_the_same(
    service: Running, hasty: Running, fake: FakeAuthority, case: Case, transport: str
) -> None:
    """Status, headers and body of each case are the same, whichever way Envoy asks."""
    asked = hasty if case.authorization in SLOW else service
    for _ in range(2):  # the second time from memory
        told = await asked.ask(transport, case.policy, case.authorization, case.projects)
        assert shortened(told) == case.told
    assert (fake.elsewhere, fake.cookies) == (0, []), "a redirect was followed or a cookie kept"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("policy", "token"),
    [
        (COREWEAVE, wb("of-wandb")),
        (COREWEAVE, "CW-ann"),
        (COREWEAVE, "cw-secret-ann"),
        (WANDB, "CW-SECRET-long-enough-for-wandb-but-for-its-dot."),
        (WANDB, "k" * 39),
        (WANDB, "k" * 513),
    ],
)
async def test_a_token_of_another_shape_is_never_sent_on(
    service: Running, fake: FakeAuthority, policy: Policy, token: str
) -> None:
    """An authority is not shown what cannot be a token of its own."""
    assert await service.ask("http", policy, bearer(token)) == BAD_KEY
    assert token not in fake.calls


TEXT = policy_text(COREWEAVE)
NO_POLICIES = {
    "absent": [],
    "empty": [""],
    "Envoy's text for nothing": ["-"],
    "twice": [TEXT, TEXT],
    "a client's before": ["-", TEXT],
    "a client's behind": [TEXT, ""],
    "joined by a comma": [f"{TEXT},{TEXT}"],
    "one part": ["coreweave"],
    "two parts": ["coreweave/org-1"],
    "four parts": [f"{TEXT}/v1"],
    "no organization": ["coreweave//gw-1"],
    "no gateway": ["coreweave/org-1/"],
    "other provider": ["okta/org-1/gw-1"],
    "provider in another case": ["CoreWeave/org-1/gw-1"],
    "slashes encoded": ["coreweave%2Forg-1%2Fgw-1"],
    "slash in front": [f"/{TEXT}"],
    "long": ["a" * 5000 + "/org-1/gw-1"],
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("http", ["http", "http2"])
@pytest.mark.parametrize("values", NO_POLICIES.values(), ids=NO_POLICIES.keys())
async def test_a_check_without_one_policy_is_never_allowed(
    service: Running, values: list[str], http: str
) -> None:
    """A good token passes nowhere but at a gateway: what is not one policy is no gateway."""
    headers = [("authorization", f"Bearer {cw('ann')}"), *(("x-igw-policy", value) for value in values)]
    client: httpx.AsyncClient = getattr(service, http)
    response = await client.post("/v1/models", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_gateway")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_long_policy_is_read(service: Running) -> None:
    """A policy that is too long to be remembered is read all the same."""
    policy = Policy(Provider.COREWEAVE, "org-1", "g" * 5000)
    assert shortened(await service.ask("http", policy, bearer(cw("ann")))) == ANN


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/", "*", "//", "/../..", "/check/wandb/a/b", "/%00?#", "/" + "a" * 8000])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"])
async def test_any_method_and_path_is_checked(service: Running, method: str, path: str) -> None:
    """The check has the request's own method and path, and the policy decides for all alike."""
    headers = {"x-igw-policy": TEXT, "authorization": f"Bearer {cw('ann')}"}
    target = {"target": path.encode()}
    good = await service.http.request(method, "/", headers=headers, extensions=target)
    bad = await service.http.request(method, "/", headers={"x-igw-policy": TEXT}, extensions=target)
    assert (good.status_code, good.headers["x-igw-principal"], bad.status_code) == (200, "ann", 401)


LEVELS = Levels(Level(60, 12, 24.5), Level(1000, 0, 0.02))
LIMITS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "12",
    "x-ratelimit-reset-requests": "24.5s",
    "x-ratelimit-limit-tokens": "1000",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-tokens": "20ms",
}
KEY = wb("key")


def counted(limit: Exceeded, error: ApiError) -> tuple[Admission, Told]:
    """Give what a keeper says of a request that met a limit, and what Envoy is told."""
    return Held(limit, 2.1, LEVELS), denied(error, {**JSON, "retry-after": "3", **LIMITS})


ADMISSIONS: dict[str, tuple[Admission, Told]] = {
    "passes": (
        Admitted("lease-1", LEVELS),
        Told(200, {**admitted("ann", "org-2", "team-a/passes").headers, "x-igw-lease": "lease-1", **LIMITS}),
    ),
    "passes without limits a minute": (
        Admitted("lease-2", Levels()),
        Told(
            200,
            {
                **admitted("ann", "org-2", "team-a/passes-without-limits-a-minute").headers,
                "x-igw-lease": "lease-2",
            },
        ),
    ),
    "concurrency": counted(
        Exceeded.CONCURRENCY,
        ApiError(429, "concurrency_limit_reached", "Concurrency limit reached for requests"),
    ),
    "requests": counted(
        Exceeded.REQUESTS, ApiError(429, "rate_limit_exceeded", "Rate limit reached for requests per minute")
    ),
    "tokens": counted(
        Exceeded.TOKENS, ApiError(429, "rate_limit_exceeded", "Rate limit reached for tokens per minute")
    ),
    "quota": counted(
        Exceeded.QUOTA,
        ApiError(
            402,
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details",
        ),
    ),
    "unknown": counted(
        Exceeded.UNKNOWN_PROJECT,
        ApiError(403, "project_not_found", "The project does not exist.", "OpenAI-Project"),
    ),
    "unavailable": counted(
        Exceeded.UNAVAILABLE,
        ApiError(
            503,
            "limits_unavailable",
            "The project's limits cannot be checked at the moment; try again.",
        ),
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def limited() -> AsyncIterator[Envoy]:
    """Run the servers over a keeper that says of each project what its name says."""
    keeper = Counter({project_of(name): admission for name, (admission, _) in ADMISSIONS.items()})
    keeper.open.set()
    with listening(Settings(http_port=0, grpc_port=0)) as sockets:
        front = Front(keeper, b"0123456789abcdef", 100)
        await front.start(sockets)
        async with asking(sockets.http.getsockname()[1], sockets.grpc.getsockname()[1]) as envoy:
            yield envoy
        await front.stop(0)


def project_of(name: str) -> str:
    """Give the project of a case."""
    return f"team-a/{name.replace(' ', '-')}"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("transport", ["http", "http2", "grpc"])
@pytest.mark.parametrize(("name", "told"), [(name, told) for name, (_, told) in ADMISSIONS.items()])
async def test_limits_are_told_the_same(limited: Envoy, name: str, told: Told, transport: str) -> None:
    """A request that may pass has a slot and learns its limits; one that may not learns which it met, and when."""
    for _ in range(2):
        asked = await limited.ask(transport, LIMITED, bearer(KEY), [project_of(name)])
        assert shortened(asked) == told


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("transport", ["http", "http2", "grpc"])
async def test_no_slot_is_taken_for_who_may_not_pass(limited: Envoy, transport: str) -> None:
    """Limits are asked of what may pass: others are refused as without limits."""
    assert await limited.ask(transport, LIMITED, bearer(KEY), ["team-b/passes"]) == OTHER_PROJECT
    assert await limited.ask(transport, LIMITED, ()) == NO_KEY
