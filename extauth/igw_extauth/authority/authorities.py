"""Who is asked whose a token is: CoreWeave's whoami and W&B's GraphQL API, over HTTP.

In: a token of the right shape. Out: its identity. A failure of the authority is `Unavailable`, never an
exception, and never `Unknown`: an outage must not tell callers that their keys are bad. When and how often an
authority is asked is not here (`igw_extauth.authority.lane`).
"""

from collections.abc import Callable
from typing import Annotated, Protocol

import httpx
import msgspec

from igw_extauth.asking import asking_client, bounded_body
from igw_extauth.identity import MAX_NAME_LENGTH, Identity, Known, Principal, Unavailable, Unknown
from igw_extauth.secret import BearerToken

MAX_BODY_BYTES = 64 * 1024
CONNECT_SECONDS = 2
CONNECTIONS = 64
KEEPALIVE_SECONDS = 30

_ANSWERS = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
"""Statuses that say of the token that it is not valid; any other, such as a wrong URL's, says nothing of it."""
_PASSING = {httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT}
"""Statuses of something between, or of one server of several: the next question may be answered."""
_VIEWER = {"query": "query { viewer { id entity username teams { edges { node { name } } } } }"}


class Authority(Protocol):
    """Vouches for tokens."""

    async def ask(self, token: BearerToken, again: Callable[[], bool]) -> Identity:
        """Ask the authority whose a token is; `again` is asked before a second try, after a passing failure."""
        ...


def authority_client(timeout_seconds: float) -> httpx.AsyncClient:
    """Make the HTTP client of one authority.

    `timeout_seconds` bounds each step; the look-up as a whole is bounded where it is started.
    """
    return asking_client(
        httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
        httpx.Limits(
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            keepalive_expiry=KEEPALIVE_SECONDS,
        ),
        http2=True,
    )


class CoreWeave:
    """CoreWeave's ``GET whoami`` (docs/inference-api.md, section 5)."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def ask(self, token: BearerToken, again: Callable[[], bool]) -> Identity:
        """Ask whoami with the token as the caller's own."""
        headers = {"authorization": f"Bearer {token.reveal()}"}
        request = self._client.build_request("GET", self._url, headers=headers)
        return await _identity(self._client, request, _whoami, again)


class Wandb:
    """W&B's GraphQL ``viewer`` (docs/inference-api.md, section 5)."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def ask(self, token: BearerToken, again: Callable[[], bool]) -> Identity:
        """Ask who the viewer is, with the key as the password of user ``api``."""
        request = self._client.build_request("POST", self._url, json=_VIEWER)
        (signed,) = httpx.BasicAuth("api", token.reveal()).auth_flow(request)
        return await _identity(self._client, signed, _viewer, again)


_Read = Callable[[bytes], Identity]


async def _identity(
    client: httpx.AsyncClient, request: httpx.Request, read: _Read, again: Callable[[], bool]
) -> Identity:
    """Ask, and once more after a passing failure: both questions only read, so they may be repeated."""
    identity, passing = await _once(client, request, read)
    if passing and again():
        identity, _ = await _once(client, request, read)
    return identity


async def _once(client: httpx.AsyncClient, request: httpx.Request, read: _Read) -> tuple[Identity, bool]:
    """Give the identity, and whether the failure may be a passing one."""
    try:
        response = await client.send(request, stream=True)
        try:
            # Read in any case: a connection with an unread body cannot be used again.
            body = await bounded_body(response, MAX_BODY_BYTES)
        finally:
            await response.aclose()
    except httpx.TimeoutException:
        return Unavailable("timeout"), False
    except httpx.HTTPError as error:
        broken = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
        return Unavailable(f"no answer: {type(error).__name__}"), broken
    return _identity_of(response.status_code, body, read), response.status_code in _PASSING


def _identity_of(status: int, body: bytes | None, read: _Read) -> Identity:
    if status in _ANSWERS:
        return Unknown()
    if status != httpx.codes.OK:
        return Unavailable(f"status {status}")
    if body is None:
        return Unavailable("answer too large")
    try:
        return read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Unavailable("answer not understood")


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]


class _WhoamiPrincipal(msgspec.Struct, rename="camel"):
    uid: _Name
    org_uid: _Name


class _Whoami(msgspec.Struct):
    principal: _WhoamiPrincipal


def _whoami(body: bytes) -> Identity:
    principal = msgspec.json.decode(body, type=_Whoami).principal
    return Known(Principal(principal.uid, frozenset({principal.org_uid})))


class _Team(msgspec.Struct):
    name: _Name


class _Edge(msgspec.Struct):
    node: _Team | None = None


class _Teams(msgspec.Struct):
    edges: list[_Edge] = []


class _Viewer(msgspec.Struct):
    username: _Name
    entity: _Name | None = None
    teams: _Teams | None = None


class _Data(msgspec.Struct):
    viewer: _Viewer | None


class _GraphqlReply(msgspec.Struct):
    data: _Data | None = None
    errors: list[msgspec.Raw] | None = None


def _viewer(body: bytes) -> Identity:
    """Read a reply (https://spec.graphql.org/October2021/#sec-Response-Format): with errors, its data is partial."""
    reply = msgspec.json.decode(body, type=_GraphqlReply)
    if reply.data is not None and reply.data.viewer is None:
        return Unknown()
    if reply.data is None or reply.data.viewer is None or reply.errors:
        return Unavailable("answer with errors")
    return Known(_principal(reply.data.viewer))


def _principal(viewer: _Viewer) -> Principal:
    edges = viewer.teams.edges if viewer.teams else []
    names = {viewer.entity, *(edge.node.name for edge in edges if edge.node)}
    organizations = frozenset(name for name in names if name)
    return Principal(viewer.username, organizations, viewer.entity or min(organizations, default=""))
