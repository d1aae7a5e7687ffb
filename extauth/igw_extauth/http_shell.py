"""Envoy's ext_authz over HTTP: any method to ``/check/<policy>/<the request's own path>``.

Plain ASGI, without a framework: this is the cheapest way to be asked (envoy-notes: a sixth of gRPC's CPU).
Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter
"""

from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any

from igw_model.policy import Policy, policy_of_path

from igw_extauth.answer import Answer
from igw_extauth.attempt import Attempt, bearer_token
from igw_extauth.check import Check

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

POLICY_PARTS = 5
"""Of a path cut at its slashes: an empty one, ``check`` and the policy's three."""
REMEMBERED_POLICIES = 10_000
MAX_REMEMBERED_LENGTH = 512
"""Bytes of path; with the number above, 5 MB at most."""

HttpApp = Callable[[Message, Receive, Send], Awaitable[None]]


def http_app(check: Check) -> HttpApp:
    """Make the ASGI app that answers checks."""
    policies = PathPolicies()

    async def app(scope: Message, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
            # The raw path: in a decoded one, an encoded slash would move the policy's parts.
            attempt = Attempt(policies.policy(scope["raw_path"]), bearer_token(values))
            await _send(await check(attempt), send)

    return app


class PathPolicies:
    """`policy_of_path`, remembered for the paths asked last: reading one anew costs a tenth of a check."""

    def __init__(self) -> None:
        self._remembered = lru_cache(REMEMBERED_POLICIES)(_policy)

    def policy(self, path: bytes) -> Policy | None:
        """Give the policy of a check's path."""
        prefix = b"/".join(path.split(b"/", POLICY_PARTS)[:POLICY_PARTS])
        # A stranger at an unknown host chooses this text: long ones must not fill the memory.
        return self._remembered(prefix) if len(prefix) <= MAX_REMEMBERED_LENGTH else _policy(prefix)


def _policy(path: bytes) -> Policy | None:
    return policy_of_path(path.decode("latin-1"))


async def _send(answer: Answer, send: Send) -> None:
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
