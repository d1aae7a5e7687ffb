"""Around the whole HTTP server: one log line and one count a request, and an answer when our own code fails.

Lines and labels hold no token, body or query. A method's label is its name or `other`, so labels stay few.
"""

import time
from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from igw_api.failure import Code, RefusedError
from igw_api.methods import PACKAGE, Method
from igw_api.metrics import CALL_SECONDS, CALLS
from igw_api.reply import refusal_reply
from igw_api.rest import CALLED

log = structlog.get_logger(__name__)

OTHER = "other"
REQUEST_ID = b"x-request-id"


class Access:
    """An ASGI middleware; `new_id` names requests."""

    def __init__(self, app: ASGIApp, new_id: Callable[[], str]) -> None:
        self._app = app
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reply = _Reply(send, self._new_id())
        begun = time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=reply.request_id)
        try:
            await self._app(scope, receive, reply.send)
        except Exception:
            log.exception("call failed")
            if reply.status:
                raise
            message = f"internal error; the log knows it as request {reply.request_id}"
            await refusal_reply(RefusedError(Code.INTERNAL, message))(scope, receive, reply.send)
        finally:
            _told(scope, reply.status or HTTPStatus.INTERNAL_SERVER_ERROR, time.perf_counter() - begun)
            structlog.contextvars.unbind_contextvars("request_id", "principal", "organization")


class _Reply:
    """Passes a reply on, remembers its status and names its request."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        """Pass on one message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (REQUEST_ID, self.request_id.encode())]
        await self._send(message)


def _told(scope: Scope, status: int, seconds: float) -> None:
    method = _method(scope)
    CALLS.labels(method, str(status)).inc()
    CALL_SECONDS.labels(method, str(status)).observe(seconds)
    log.info(
        "call",
        method=method,
        verb=scope["method"],
        path=scope["path"][:200],
        status=status,
        milliseconds=round(seconds * 1000, 3),
    )


def _method(scope: Scope) -> str:
    """Name the method that was called: REST says it in the scope, Connect in the path."""
    if CALLED in scope:
        return str(scope[CALLED])
    service, _, method = scope["path"].rpartition("/")
    return method if service.startswith(f"/{PACKAGE}.") and method in set(Method) else OTHER
