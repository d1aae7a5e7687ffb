"""The rows of the table, as values: what is asked of which proxy, and what is to be reached."""

import json
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

HOSTS = {"header": "header.bench", "path": "path.bench", "body": "body.bench"}
MODEL = "bench/model"
BODY_BYTES = 1024
CHAT = "/v1/chat/completions"

HEADER_OR_PATH_RATIO = 0.6
BODY_RATIO = 0.35
HTTP_CHECK_MICROSECONDS = 40.0
EXCHANGE_MICROSECONDS = 220.0


class Proxy(StrEnum):
    """The Envoy that a row asks: without filters, or ours with one of the ways to be set up."""

    PLAIN = "plain"
    HTTP = "http"
    """As it is by default: extauth is asked over HTTP, bodies are read in Envoy."""
    USAGE = "usage"
    """The same, and what each request used is told to the collector."""
    EXT_PROC = "ext_proc"
    """Bodies are read by extproc."""
    GRPC = "grpc"
    """The same, and extauth is asked over gRPC."""


class Upstream(StrEnum):
    """What stands behind the proxies."""

    MODEL = "model"
    """A small model server in Python."""
    ENVOY = "envoy"
    """An Envoy that answers by itself and keeps connections open."""
    CLOSING = "closing"
    """An Envoy that answers before it has read the body, and so closes each connection."""


HELD_TO_TARGETS = Upstream.CLOSING
"""The targets come from measurements whose plain proxy cost what it costs before this upstream (159 µs a request)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a row is to reach: throughput of plain at least, CPU microseconds at most; None is not held to."""

    ratio: float | None = None
    check: float | None = None
    exchange: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of request through one proxy."""

    name: str
    proxy: Proxy
    host: str
    path: str = CHAT
    target: Target = Target()


PLAIN = Row("plain proxy", Proxy.PLAIN, "plain.bench")
ROWS = (
    PLAIN,
    Row(
        "header gateway, ext_authz HTTP",
        Proxy.HTTP,
        HOSTS["header"],
        target=Target(HEADER_OR_PATH_RATIO, HTTP_CHECK_MICROSECONDS),
    ),
    Row(
        "path gateway, ext_authz HTTP",
        Proxy.HTTP,
        HOSTS["path"],
        f"/{quote(MODEL, safe='')}{CHAT}",
        Target(HEADER_OR_PATH_RATIO, HTTP_CHECK_MICROSECONDS),
    ),
    Row(
        "body gateway, ext_authz HTTP",
        Proxy.HTTP,
        HOSTS["body"],
        target=Target(BODY_RATIO, HTTP_CHECK_MICROSECONDS),
    ),
    Row("header gateway, ext_authz HTTP, usage", Proxy.USAGE, HOSTS["header"]),
    Row("body gateway, ext_authz HTTP, usage", Proxy.USAGE, HOSTS["body"]),
    Row(
        "body gateway, ext_authz HTTP, ext_proc",
        Proxy.EXT_PROC,
        HOSTS["body"],
        target=Target(BODY_RATIO, HTTP_CHECK_MICROSECONDS, EXCHANGE_MICROSECONDS),
    ),
    Row("header gateway, ext_authz gRPC", Proxy.GRPC, HOSTS["header"]),
    Row(
        "body gateway, ext_authz gRPC, ext_proc",
        Proxy.GRPC,
        HOSTS["body"],
        target=Target(exchange=EXCHANGE_MICROSECONDS),
    ),
)


def question() -> str:
    """Give a chat request of 1 KB, its keys in the order in which OpenAI's Python library sends them."""

    def text(content: str) -> str:
        return json.dumps({"messages": [{"role": "user", "content": content}], "model": MODEL})

    return text("x" * (BODY_BYTES - len(text(""))))


def answer() -> str:
    """Give a chat completion of 1 KB."""

    def text(content: str) -> str:
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 200, "completion_tokens": 200, "total_tokens": 400}
        return json.dumps({"object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage})

    return text("x" * (BODY_BYTES - len(text(""))))
