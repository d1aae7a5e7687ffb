"""A model server for tests that says what reached it: length and digest of the body, and the headers."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from igw_ops.listening import listening_socket

from tests.real_envoy.running import eventually


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request (ASGI)."""
    if scope["type"] != "http":
        return
    digest, length, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        digest.update(message.get("body", b""))
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    headers = [(b"x-echo-" + name, value) for name, value in scope["headers"]]
    told = [(b"x-length", str(length).encode()), (b"x-digest", digest.hexdigest().encode())]
    await send({"type": "http.response.start", "status": 200, "headers": [*told, *headers]})
    await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def echo_server() -> Iterator[int]:
    """Run one on a free port, and give that."""
    listening = listening_socket("echo", "127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(echo, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
