"""The client status discovery service: what each connected proxy made of each resource, for standard tools.

Requests and streams in, `ClientConfig`s out, bounded in number and bytes. A proxy is not asked: this is what its
stream knows. Source: envoy/service/status/v3/csds.proto.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, assert_never

import structlog
from envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus, UpdateFailureState
from envoy.config.core.v3.base_pb2 import BuildVersion, Locality
from envoy.config.core.v3.base_pb2 import Node as NodeMessage
from envoy.service.status.v3.csds_pb2 import ClientConfig, ClientStatusRequest, ConfigStatus
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.semantic_version_pb2 import SemanticVersion
from google.protobuf.message import DecodeError
from igw_ops.grpc.server import Stream as Wire
from igw_ops.grpc.wire import GrpcStatus

from igw_xds.fleet import Connected, Fleet
from igw_xds.snapshot import NO_RESOURCES, SECRET, TYPES, Resource
from igw_xds.stream import Holds, Lacks, Node, Refuses
from igw_xds.stream.response import varint

log = structlog.get_logger(__name__)

TOGETHER: Final = 250
"""So many resources are described before others have their turn."""
MAX_CLIENTS: Final = 100
"""Proxies in one answer, by id; who wants another names it."""
MAX_BYTES: Final = 32 * 1024 * 1024
"""Of one answer; proxies beyond are left out."""
MAX_AT_ONCE: Final = 4
"""Answers that are made or not yet read; who asks beside them is sent away, so that memory has a bound."""
MAX_WAITING: Final = 16
"""Requests that wait on one stream."""

Xds = ClientConfig.GenericXdsConfig
_NUMBERS: Final = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", re.ASCII)
_CONFIG: Final = b"\x0a"
"""The tag of `ClientStatusResponse.config`."""


@dataclass(slots=True)
class RefusedError(Exception):
    """A request that is not answered."""

    status: GrpcStatus
    text: str


def chosen(request: ClientStatusRequest, clients: Iterable[Connected]) -> list[Connected]:
    """Give those that any of the matchers means, all without one, by id. Raises RefusedError."""
    matches = [_matching(matcher) for matcher in request.node_matchers]
    found = [c for c in clients if not matches or any(match(c.node.id) for match in matches)]
    return sorted(found, key=lambda c: c.node.id)


def has_contents(request: ClientStatusRequest) -> bool:
    """Say whether resources are told with their content: only of proxies that are named."""
    named = all(m.node_id.WhichOneof("match_pattern") == "exact" for m in request.node_matchers)
    return bool(request.node_matchers) and named and not request.exclude_resource_contents


def resources(client: Connected, *, contents: bool) -> Iterator[Xds]:
    """Give what a proxy made of each resource that it is to have, asks for or has."""
    target = client.target or NO_RESOURCES
    for type_url in TYPES:
        for name in sorted(client.stream.names(type_url)):
            shown = contents and type_url != SECRET
            yield resource(client, type_url, name, target.of(type_url).get(name), contents=shown)


def resource(client: Connected, type_url: str, name: str, wanted: Resource | None, *, contents: bool) -> Xds:
    """Give what a proxy made of one resource; `wanted` is what it is to have."""
    found = Xds(type_url=type_url, name=name)
    match client.stream.standing(type_url, name):
        case Holds(held):
            _hold(found, held, contents=contents)
            found.client_status = ClientResourceStatus.ACKED
            found.config_status = ConfigStatus.SYNCED if held == wanted else ConfigStatus.STALE
        case Refuses(refused, text, kept):
            if kept is not None:
                _hold(found, kept, contents=contents)
            found.client_status = ClientResourceStatus.NACKED
            found.config_status = ConfigStatus.ERROR
            found.error_state.CopyFrom(_failure(refused, text, contents=contents))
        case Lacks():
            absent = wanted is None
            found.client_status = (
                ClientResourceStatus.DOES_NOT_EXIST if absent else ClientResourceStatus.REQUESTED
            )
            found.config_status = ConfigStatus.SYNCED if absent else ConfigStatus.NOT_SENT
        case other:
            assert_never(other)
    return found


def node_message(node: Node) -> NodeMessage:
    """Give who a proxy is, as far as we remember."""
    message = NodeMessage(id=node.id, locality=Locality(zone=node.zone))
    if numbers := _NUMBERS.fullmatch(node.version):
        major, minor, patch = map(int, numbers.groups())
        version = SemanticVersion(major_number=major, minor_number=minor, patch=patch)
        message.user_agent_build_version.CopyFrom(BuildVersion(version=version))
    else:  # gRPC's own client says it in words
        message.user_agent_version = node.version
    return message


@dataclass(slots=True, eq=False)
class Inquiry:
    """One call, unary or a stream; answers one request after the other, and none ahead of a reader."""

    wire: Wire
    fleet: Fleet
    busy: "set[Inquiry]"
    """Those that have an answer on its way."""
    once: bool
    _waiting: deque[ClientStatusRequest] = field(default_factory=deque)
    _answering: asyncio.Task[None] | None = None
    _read: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    def receive(self, message: bytes) -> None:
        """Take a request."""
        try:
            request = ClientStatusRequest.FromString(message)
        except DecodeError:
            self._refuse(GrpcStatus.INVALID_ARGUMENT, "not a ClientStatusRequest")
            return
        if len(self._waiting) >= MAX_WAITING:
            self._refuse(GrpcStatus.RESOURCE_EXHAUSTED, "read what you asked for first")
            return
        self._waiting.append(request)
        if self._answering is None:
            if len(self.busy) >= MAX_AT_ONCE:
                self._refuse(GrpcStatus.RESOURCE_EXHAUSTED, "too many ask at once: try again")
                return
            self.busy.add(self)
            self._answering = asyncio.get_running_loop().create_task(self._answer_all())

    def writable(self) -> None:
        """Go on."""
        self._read.set()

    def half_closed(self) -> None:
        """End behind the last answer."""
        self._closed = True
        if self._answering is None:
            self.wire.end()

    def ended(self) -> None:
        """Answer no more."""
        if self._answering is not None:
            self._answering.cancel()
            self.busy.discard(self)  # a task that has not begun ends without its `finally`

    def _refuse(self, status: GrpcStatus, text: str) -> None:
        self.wire.end(status, text)
        self.ended()

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                self.wire.send(*await _answer(self._waiting.popleft(), self.fleet))
                while self.wire.blocked:
                    self._read.clear()
                    await self._read.wait()
                if self.once:
                    break
            if self.once or self._closed:
                self.wire.end()
        except RefusedError as refused:
            self.wire.end(refused.status, refused.text)
        except Exception:
            log.exception("client status cannot be told")
            self.wire.end(GrpcStatus.INTERNAL, "internal error")
        finally:
            self._answering = None
            self.busy.discard(self)


def opening(fleet: Fleet) -> Callable[[Wire], Inquiry | None]:
    """Give what answers a call; None for a method that is not one of this service."""
    busy: set[Inquiry] = set()

    def opened(wire: Wire) -> Inquiry | None:
        once = METHODS.get(wire.path)
        return None if once is None else Inquiry(wire, fleet, busy, once)

    return opened


METHODS: Final[Mapping[str, bool]] = {
    "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus": True,
    "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus": False,
}
"""Whether a method has one request."""


async def _answer(request: ClientStatusRequest, fleet: Fleet) -> Sequence[bytes]:
    """Give an answer in parts. Raises RefusedError."""
    answer: list[bytes] = []
    size, contents = 0, has_contents(request)
    for client in chosen(request, fleet.connected())[:MAX_CLIENTS]:
        parts = [part async for part in _parts(client, contents=contents, most=MAX_BYTES - size)]
        length = sum(map(len, parts))
        if size + length > MAX_BYTES:
            if answer:
                break
            text = f"more than {MAX_BYTES} bytes: ask with exclude_resource_contents"
            raise RefusedError(GrpcStatus.RESOURCE_EXHAUSTED, text)
        answer += [_CONFIG + varint(length), *parts]
        size += length
    return answer


async def _parts(client: Connected, *, contents: bool, most: int) -> Any:
    """Give a `ClientConfig` in parts, each a message of its own: side by side they are the whole."""
    yield ClientConfig(node=node_message(client.node)).SerializeToString()
    left = resources(client, contents=contents)
    while most >= 0 and (some := list(islice(left, TOGETHER))):
        part = ClientConfig(generic_xds_configs=some).SerializeToString()
        most -= len(part)
        yield part
        await asyncio.sleep(0)


def _matching(matcher: NodeMatcher) -> Callable[[str], bool]:
    if matcher.node_metadatas or not matcher.HasField("node_id"):
        raise RefusedError(GrpcStatus.INVALID_ARGUMENT, "node_matchers: only node_id is matched")
    return _text_matching(matcher.node_id)


def _text_matching(matcher: StringMatcher) -> Callable[[str], bool]:
    """Give what a matcher matches; a regular expression of a stranger's could take forever."""
    kind = matcher.WhichOneof("match_pattern")
    if kind not in {"exact", "prefix", "suffix", "contains"}:
        raise RefusedError(GrpcStatus.INVALID_ARGUMENT, "node_id: exact, prefix, suffix or contains")
    folded: Callable[[str], str] = str.lower if matcher.ignore_case else str
    wanted = folded(getattr(matcher, kind))

    def matches(text: str) -> bool:
        match kind:
            case "exact":
                return folded(text) == wanted
            case "prefix":
                return folded(text).startswith(wanted)
            case "suffix":
                return folded(text).endswith(wanted)
            case _:
                return wanted in folded(text)

    return matches


def _hold(found: Xds, held: Resource, *, contents: bool) -> None:
    found.version_info = held.version
    if contents and held.encoded:
        found.xds_config.CopyFrom(held.body)


def _failure(refused: Resource | None, text: str, *, contents: bool) -> UpdateFailureState:
    failure = UpdateFailureState(details=text)
    if refused is not None:
        failure.version_info = refused.version
        if contents and refused.encoded:
            failure.failed_configuration.CopyFrom(refused.body)
    return failure
