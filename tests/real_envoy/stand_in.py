"""A server in extauth's place, over HTTP/2 by the h2 library: answers checks as it is told, and takes the access log.

What Envoy does with answers of any kind is tested with it, whatever extauth itself would decide.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import h2.config
import h2.connection
import h2.events
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

LOG = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
HEALTH = "/healthz"


class Reply(NamedTuple):
    """An answer to a check."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class StandIn:
    """What it was asked and told, and how it answers: `answer` from the headers of a check."""

    answer: Callable[[Mapping[str, str]], Reply]
    checks: list[Mapping[str, str]] = field(default_factory=list)
    entries: list[HTTPAccessLogEntry] = field(default_factory=list)
    _open: dict[int, Callable[[], None]] = field(default_factory=dict)

    def leave(self, port: int) -> None:
        """Answer there no more: connections break."""
        self._open.pop(port, lambda: None)()

    @contextlib.asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """Answer on a port of loopback while the context is open."""
        connections: set[_Connection] = set()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, connections), "127.0.0.1", port)

        def close() -> None:
            server.close()
            for connection in list(connections):
                connection.abort()

        self._open[port] = close
        try:
            yield
        finally:
            self.leave(port)


class _Connection(asyncio.Protocol):
    def __init__(self, of: StandIn, connections: "set[_Connection]") -> None:
        self._of, self._connections = of, connections
        self._http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._asked: dict[int, dict[str, str]] = {}
        self._logged: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)
        self._http2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._connections.discard(self)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        for event in self._http2.receive_data(data):
            match event:
                case h2.events.RequestReceived(stream_id=int(stream), headers=list(headers)):
                    self._asked[stream] = {_text(name): _text(value) for name, value in headers}
                    if self._asked[stream][":path"] == LOG:
                        self._http2.send_headers(
                            stream, [(":status", "200"), ("content-type", "application/grpc")]
                        )
                        self._logged[stream] = b""
                case h2.events.DataReceived(
                    stream_id=int(stream), data=bytes(body), flow_controlled_length=int(size)
                ):
                    self._http2.acknowledge_received_data(size, stream)
                    if stream in self._logged:
                        self._logged[stream] = self._entries(self._logged[stream] + body)
                case h2.events.StreamEnded(stream_id=int(stream)) if stream not in self._logged:
                    self._answer(stream, self._asked.pop(stream))
                case _:
                    pass
        self._flush()

    def _answer(self, stream: int, asked: Mapping[str, str]) -> None:
        reply = Reply(200, {})
        if asked[":path"] != HEALTH:
            self._of.checks.append(asked)
            reply = self._of.answer(asked)
        headers = {":status": str(reply.status), "content-length": str(len(reply.body)), **reply.headers}
        self._http2.send_headers(stream, list(headers.items()), end_stream=not reply.body)
        if reply.body:
            self._http2.send_data(stream, reply.body, end_stream=True)

    def _entries(self, data: bytes) -> bytes:
        """Take the whole messages off the front of a gRPC stream's bytes; give the rest."""
        while len(data) >= 5 and len(data) >= (end := 5 + int.from_bytes(data[1:5], "big")):
            self._of.entries += StreamAccessLogsMessage.FromString(data[5:end]).http_logs.log_entry
            data = data[end:]
        return data

    def _flush(self) -> None:
        self._transport.write(self._http2.data_to_send())


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
