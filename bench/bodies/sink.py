"""The least that can stand behind a proxy: reads a request's body, and answers; `python sink.py PORT`.

A request with `"stream":true` at its beginning is answered with a stream of events, a thousand of them.
"""

import asyncio
import re
import sys
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKS = 1000
_USAGE = b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}'
_DOCUMENT = b'{"object":"chat.completion","model":"bench/model","choices":[],%b}' % _USAGE
_HEADERS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_ANSWER = _HEADERS % len(_DOCUMENT) + _DOCUMENT
_KIND = b'"object":"chat.completion.chunk"'
_EVENT = b'data: {%b,"choices":[{"index":0,"delta":{"content":"word "}}],"usage":null}\n\n' % _KIND
_END = b'data: {%b,"choices":[],%b}\n\ndata: [DONE]\n\n' % (_KIND, _USAGE)
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Sink(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._streams = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._left:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            length = _LENGTH.search(head)
            self._left, self._head = int(length[1]) if length else 0, b""
            self._streams = b'"stream":true' in data[:200]
        self._left -= len(data)
        if self._left <= 0:
            self._left = 0
            self._answer()

    def _answer(self) -> None:
        if not self._streams:
            self._transport.write(_ANSWER)
            return
        self._transport.write(_STREAM)
        for _ in range(_CHUNKS):
            self._transport.write(_chunk(_EVENT))
        self._transport.write(_chunk(_END) + b"0\r\n\r\n")


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


async def main(port: int) -> None:
    """Serve until it is ended."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
