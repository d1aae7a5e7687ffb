"""A small OpenAI-compatible model server: it says which replica answered and repeats what the user said.

It is the demo's model, the upstream of the tests (`/demo/seen` tells what arrived) and that of load tests.
It trusts its callers and listens on loopback: whoever is admitted is decided in front of it.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from igw_model.openai import ApiError

from igw_demo import answer
from igw_demo.answer import Api, Document
from igw_demo.client import JSON, Client, ClientGone, Receive, Refused, Scope, Send
from igw_demo.question import Question, Wishes, chat_question, completion_question, texts_to_embed
from igw_demo.seen import Seen
from igw_demo.serving import running

REPLICA_HEADER = "x-demo-replica"
DIMENSIONS = 8
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
        self.seen = Seen()
        self.healthy = True
        self._settings = settings
        self._clock = clock
        self._numbers = itertools.count(1)
        self._marks = [(REPLICA_HEADER.encode(), settings.name.encode())]

    def leave(self) -> None:
        """Answer on, and tell with each answer, and to each health check, that nothing new is wanted.

        Source: Envoy's router, "x-envoy-immediate-health-check-fail".
        """
        self.healthy = False
        self._marks += LEAVING

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        client = Client(receive, send, self._marks)
        path = self.seen.count(scope)
        try:
            if path == "/health":
                await client.answer(
                    200 if self.healthy else 503, b"text/plain", b"ok\n" if self.healthy else b"ill\n"
                )
            elif path.startswith("/demo/"):
                await self._demo(scope, client)
            else:
                self.seen.keep(scope, path)
                with self.seen.in_flight(scope):
                    await self._api(scope, client)
        except Refused as refusal:
            await client.answer(refusal.error.status, JSON, refusal.error.body())
        except ClientGone:
            self.seen.cancelled += 1
        finally:
            client.close()

    async def _api(self, scope: Scope, client: Client) -> None:
        match scope["method"], scope["path"]:
            case "POST", "/v1/chat/completions":
                await self._speak(Api.CHAT, chat_question(await client.body(), scope["headers"]), client)
            case "POST", "/v1/completions":
                question = completion_question(await client.body(), scope["headers"])
                await self._speak(Api.COMPLETION, question, client)
            case "POST", "/v1/embeddings":
                asked = texts_to_embed(await client.body(), scope["headers"], DIMENSIONS)
                await _grant(asked.wishes, client)
                await _reply(client, answer.embeddings(asked))
            case "GET", "/v1/models":
                await _reply(client, answer.models(self._settings.deployments, int(self._clock())))
            case _:
                raise _unknown(scope)

    async def _speak(self, api: Api, question: Question, client: Client) -> None:
        await _grant(question.wishes, client)
        name = self._settings.name
        deployment = self._settings.deployments.get(question.model, name)
        identity = f"{'chatcmpl' if api is Api.CHAT else 'cmpl'}-{name}-{next(self._numbers)}"
        given = answer.answer(question, name, deployment, identity, int(self._clock()))
        if not question.stream:
            await _reply(client, answer.plain(api, given))
            return
        await client.start_stream()
        for event in answer.events(api, given, include_usage=question.include_usage):
            await client.event(event)
            if event is not answer.DONE:
                await client.pause(question.wishes.chunk_ms / 1000)
        await client.end_stream()

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


async def _grant(wishes: Wishes, client: Client) -> None:
    """Wait, and fail, as the request wants it."""
    if wishes.delay_ms:
        await client.pause(wishes.delay_ms / 1000)
    if wishes.status is not None:
        raise Refused(
            ApiError(wishes.status, "demo_error", f"The request asked for the status {wishes.status}.")
        )


async def _reply(client: Client, document: Document) -> None:
    await client.answer(200, JSON, msgspec.json.encode(document))


async def _health(client: Client) -> bool:
    try:
        return msgspec.json.decode(await client.body(1024), type=_Health).healthy
    except msgspec.DecodeError as error:
        raise Refused(ApiError(400, "invalid_request", f"The body can't be read: {error}")) from None


def _unknown(scope: Scope) -> Refused:
    return Refused(ApiError(404, "not_found", f"Unknown request: {scope['method']} {scope['path']}"))
