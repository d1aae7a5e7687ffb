"""A small OpenAI-compatible model server: it says which replica answered and repeats what the user said.

It is the demo's model, the upstream of the tests (`/demo/seen` tells what arrived and what it told of tokens; `wishes`
says how a request is answered as a test needs it) and that of load tests.
It trusts its callers and listens on loopback: whoever is admitted is decided in front of it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from igw_model.openai import ApiError

from igw_demo import answer, sending
from igw_demo.client import JSON, Client, ClientGone, HungUp, Receive, Refused, Scope, Send
from igw_demo.replies import Replies
from igw_demo.seen import Seen
from igw_demo.serving import running
from igw_demo.usage import Document

REPLICA_HEADER = "x-demo-replica"
LEAVING = [(b"x-envoy-immediate-health-check-fail", b"true"), (b"connection", b"close")]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """One replica: its name, the deployment that it is of for each model it serves, and where it listens."""

    name: str
    deployments: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    linger_seconds: float = 0.0
    """How long it goes on serving once it was asked to stop, while those in front of it hear of that."""


class _Health(msgspec.Struct):
    healthy: bool


async def serve_model(settings: ModelSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, and a while longer; raises OSError when the port is taken."""
    server = ModelServer(settings)
    async with running(server, settings.host, settings.port):
        await stop.wait()
        server.leave()
        await asyncio.sleep(settings.linger_seconds)


class ModelServer:
    """The ASGI app. `seen` is what ``GET /demo/seen`` shows; `healthy` is what ``GET /health`` answers."""

    def __init__(self, settings: ModelSettings, clock: Callable[[], float] = time.time) -> None:
        self.seen = Seen(clock=clock)
        self.healthy = True
        self._settings = settings
        self._clock = clock
        self._marks = [(REPLICA_HEADER.encode(), settings.name.encode())]
        self._replies = Replies(settings.name, settings.deployments, clock).by_path

    def leave(self) -> None:
        """Answer on, and tell with each answer, and to each health check, that nothing new is wanted.

        Source: Envoy's router, "x-envoy-immediate-health-check-fail".
        """
        self.healthy = False
        self._marks += LEAVING

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> object:
        """Answer one request. What is not None, which uvicorn complains of, closes the connection without an answer."""
        client = Client(receive, send, self._marks)
        path = self.seen.count(scope)
        try:
            await self._answer(scope, path, client)
        except Refused as refusal:
            await client.answer(refusal.error.status, JSON, refusal.error.body())
        except ClientGone:
            self.seen.cancel()
        except HungUp as hung_up:
            return hung_up
        finally:
            client.close()
        return None

    async def _answer(self, scope: Scope, path: str, client: Client) -> None:
        if path == "/health":
            status, text = (200, b"ok\n") if self.healthy else (503, b"ill\n")
            await client.answer(status, b"text/plain", text)
        elif path.startswith("/demo/"):
            await self._demo(scope, client)
        else:
            self.seen.keep(scope, path)
            with self.seen.in_flight(scope):
                await self._api(scope, client)

    async def _api(self, scope: Scope, client: Client) -> None:
        method, path = scope["method"], scope["path"]
        if (method, path) == ("GET", "/v1/models"):
            await _reply(client, answer.models(self._settings.deployments, int(self._clock())))
            return
        reply = self._replies.get(path) if method == "POST" else None
        if reply is None:
            raise _unknown(scope)
        model, wishes, made = await reply(await client.body(), scope["headers"])
        with self.seen.told.telling(model) as telling:
            await sending.send(made, wishes, client, telling)

    async def _demo(self, scope: Scope, client: Client) -> None:
        match scope["method"], scope["path"]:
            case "GET", "/demo/seen":
                pass
            case "POST", "/demo/reset":
                self.seen.reset()
            case "POST", "/demo/health":
                self.healthy = await _health(client)
            case _:
                raise _unknown(scope)
        await _reply(client, self.seen.document())


async def _reply(client: Client, document: Document) -> None:
    await client.answer(200, JSON, msgspec.json.encode(document))


async def _health(client: Client) -> bool:
    try:
        return msgspec.json.decode(await client.body(1024), type=_Health).healthy
    except msgspec.DecodeError as error:
        raise Refused(ApiError(400, "invalid_request", f"The body can't be read: {error}")) from None


def _unknown(scope: Scope) -> Refused:
    return Refused(ApiError(404, "not_found", f"Unknown request: {scope['method']} {scope['path']}"))
