"""Envoy's access log, ``envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs``: what became of requests.

An entry of a request that holds a slot tells that it goes on or is over, and what it used; other entries say nothing
here. Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/accesslog/v3/als.proto
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import structlog
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from google.protobuf.message import DecodeError
from igw_model.headers import LEASE, PROJECT
from igw_ops.grpc.call import Stream
from igw_ops.grpc.wire import GrpcStatus

from igw_extauth.keeper import Ended, Event, Keeper, Running

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
AUTHORIZED = "envoy.filters.http.ext_authz"
"""The metadata that the answer to a check became."""
USAGE = "igw.usage"
"""The metadata that says what a model server's answer used."""
MOST_TOKENS = 2**53
"""Of one request; a number above is not believed."""
MAX_TEXT = 4096
"""Characters of a lease or a project as logged; what is longer is not of ours.

A project whose entity has 256 characters of four bytes, percent-encoded, has 3082.
"""


def events(message: StreamAccessLogsMessage) -> list[Event]:
    """Give what the entries of a message say, in their order."""
    return [said for entry in message.http_logs.log_entry if (said := event(entry)) is not None]


def event(entry: HTTPAccessLogEntry) -> Event | None:
    """Give what an entry says of a request that holds a slot; None for any other."""
    common = entry.common_properties
    lease = _text(common.metadata.filter_metadata, AUTHORIZED, LEASE)
    project = _decoded(entry.request.request_headers.get(PROJECT, ""))
    if not (0 < len(lease) <= MAX_TEXT and project):
        return None
    match common.access_log_type:
        case AccessLogType.DownstreamPeriodic:
            return Running(project, lease)
        case AccessLogType.DownstreamEnd:
            return Ended(project, lease, _tokens(common.metadata.filter_metadata))
        case _:
            return None


def _decoded(value: str) -> str:
    """Give the name that `answer.header_value` encoded; nothing for what it cannot have written."""
    if len(value) > MAX_TEXT:
        return ""
    try:
        return unquote(value, errors="surrogatepass")
    except UnicodeDecodeError:
        return ""


def _text(metadata: Any, namespace: str, key: str) -> str:
    if namespace not in metadata or key not in (fields := metadata[namespace].fields):
        return ""
    text: str = fields[key].string_value
    return text


def _tokens(metadata: Any) -> int:
    if USAGE not in metadata:
        return 0
    fields = metadata[USAGE].fields
    # A stream that did not say what it used has a token for each event.
    for names in (("total_tokens",), ("prompt_tokens", "completion_tokens"), ("events",)):
        if any(name in fields for name in names):
            return _count(fields[name].number_value for name in names if name in fields)
    return 0


def _count(numbers: Iterable[float]) -> int:
    """Add up what can be counts: NaN is none, nor is what is negative or too large."""
    return sum(int(number) for number in numbers if 0 <= number <= MOST_TOKENS)


class LogStream:
    """One Envoy's stream of entries (`igw_ops.grpc.call.Call`); it is answered when the Envoy ends it."""

    def __init__(self, wire: Stream, keeper: Keeper) -> None:
        self._wire = wire
        self._keeper = keeper

    def receive(self, message: bytes) -> None:
        """Tell the keeper what a message says."""
        try:
            said = events(StreamAccessLogsMessage.FromString(message))
        except DecodeError:
            structlog.get_logger().warning("access_log_not_understood", peer=self._wire.peer)
            self._wire.end(GrpcStatus.INVALID_ARGUMENT, "not a StreamAccessLogsMessage")
            return
        if said:
            self._keeper.report(said)

    def writable(self) -> None:
        """Nothing waits here."""

    def half_closed(self) -> None:
        """Answer: the Envoy has said all."""
        self._wire.send(StreamAccessLogsResponse().SerializeToString())
        self._wire.end()

    def ended(self) -> None:
        """Nothing is kept here."""
